// Named counters. Nothing here knows what a component is.
#ifndef COUNTERS_H
#define COUNTERS_H

#include "text.h"

#define MAX_NAME_BYTES 64
#define MAX_COUNTERS 65536

// A refusal, which every node has to come to in the same way. A constant: compare addresses.
struct refusal {
    uint32_t code;
    const char *message;
};

extern const struct refusal BAD_NAME;
extern const struct refusal NO_COUNTER;
extern const struct refusal OUT_OF_RANGE;
extern const struct refusal TOO_MANY;

struct counter {
    struct text name; // owned, unlike other texts
    int64_t value;
};

// Counters in the order of their names: a name is found by halving, and equal states have equal
// snapshots. All zero is an empty one.
struct counters {
    struct counter *list;
    size_t length;
    size_t capacity;
};

// Each gives the new value, or the last one. What is refused has no effect.
const struct refusal *counters_add(struct counters *counters, struct text name, int64_t amount,
                                   int64_t *value);
const struct refusal *counters_remove(struct counters *counters, struct text name, int64_t *value);
const struct refusal *counters_get(const struct counters *counters, struct text name,
                                   int64_t *value);

// The position of the first counter whose name does not come before `name`.
size_t counters_seek(const struct counters *counters, struct text name);

// Puts a counter behind all others. False if it does not belong there, or there is no room.
bool counters_push(struct counters *counters, struct text name, int64_t value);

void counters_free(struct counters *counters);

#endif
