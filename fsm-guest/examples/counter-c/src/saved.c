#include "saved.h"

// The longest line: a name, a space, a number.
#define MAX_LINE_BYTES (MAX_NAME_BYTES + 1 + NUMBER_BYTES)

static void append_number(struct buffer *buffer, int64_t number) {
    char digits[NUMBER_BYTES];
    buffer_append(buffer, number_to_text(number, digits));
    buffer_append(buffer, text_of("\n"));
}

void append_counter(struct buffer *buffer, const struct counter *counter) {
    buffer_append(buffer, counter->name);
    buffer_append(buffer, text_of(" "));
    append_number(buffer, counter->value);
}

struct buffer save(const struct counters *counters) {
    struct buffer saved = {NULL, 0, 0};
    append_number(&saved, (int64_t)counters->length);
    for (size_t i = 0; i < counters->length; i++) {
        append_counter(&saved, &counters->list[i]);
    }
    return saved;
}

// A number in the one way in which `save` writes it: no leading zeros, and no minus before zero.
static bool canonical_number(struct text text, int64_t *number) {
    char digits[NUMBER_BYTES];
    return text_to_number(text, number) && text_equals(number_to_text(*number, digits), text);
}

static bool read_line(struct loader *loader, struct text line) {
    if (!loader->has_count) {
        loader->has_count = true;
        return canonical_number(line, &loader->count) && loader->count >= 0;
    }
    struct text name;
    int64_t value;
    return text_split(&line, ' ', &name) && canonical_number(line, &value) &&
           counters_push(&loader->counters, name, value);
}

bool loader_write(struct loader *loader, struct text chunk) {
    while (chunk.length > 0) {
        struct text part;
        bool has_end = text_split(&chunk, '\n', &part);
        if (loader->line.length + part.length > MAX_LINE_BYTES) {
            return false;
        }
        buffer_append(&loader->line, part);
        if (!has_end) {
            break;
        }
        struct text line = {loader->line.start, loader->line.length};
        if (!read_line(loader, line)) {
            return false;
        }
        loader->line.length = 0;
    }
    return true;
}

bool loader_is_complete(const struct loader *loader) {
    return loader->has_count && loader->line.length == 0 &&
           (int64_t)loader->counters.length == loader->count;
}

void loader_free(struct loader *loader) {
    counters_free(&loader->counters);
    buffer_free(&loader->line);
}
