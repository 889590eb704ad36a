// What a snapshot looks like: a line with the number of counters, then one line for each,
// `NAME VALUE`, in the order of their names. Equal states give equal bytes.
#ifndef SAVED_H
#define SAVED_H

#include "counters.h"

struct buffer save(const struct counters *counters);

// One of its lines.
void append_counter(struct buffer *buffer, const struct counter *counter);

// Counters that are being read from bytes that come in pieces. All zero is the beginning.
struct loader {
    struct counters counters;
    struct buffer line; // the beginning of a line whose end has not come yet
    bool has_count;
    int64_t count;
};

// False if the bytes are no snapshot; then nothing more may be written.
bool loader_write(struct loader *loader, struct text chunk);

// Whether all bytes of a snapshot were written.
bool loader_is_complete(const struct loader *loader);

void loader_free(struct loader *loader);

#endif
