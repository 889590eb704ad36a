#include "counters.h"

#include <stdlib.h>
#include <string.h>

const struct refusal BAD_NAME = {1,
                                 "a name has 1 to 64 characters of printable ASCII, and no space"};
const struct refusal NO_COUNTER = {10, "there is no such counter"};
const struct refusal OUT_OF_RANGE = {11, "the counter would leave the range of 64-bit numbers"};
const struct refusal TOO_MANY = {12, "there are 65536 counters, and no room for more"};

static bool is_name(struct text text) {
    if (text.length == 0 || text.length > MAX_NAME_BYTES) {
        return false;
    }
    for (size_t i = 0; i < text.length; i++) {
        if (text.start[i] <= ' ' || text.start[i] > '~') {
            return false;
        }
    }
    return true;
}

size_t counters_seek(const struct counters *counters, struct text name) {
    size_t from = 0, to = counters->length;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (text_compare(counters->list[middle].name, name) < 0) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return from;
}

static bool is_at(const struct counters *counters, size_t position, struct text name) {
    return position < counters->length && text_equals(counters->list[position].name, name);
}

static void insert(struct counters *counters, size_t position, struct text name, int64_t value) {
    if (counters->length == counters->capacity) {
        counters->capacity = counters->capacity == 0 ? 16 : 2 * counters->capacity;
        counters->list = reallocate(counters->list, counters->capacity, sizeof(struct counter));
    }
    char *copy = allocate(name.length, 1);
    memcpy(copy, name.start, name.length);
    struct counter *place = &counters->list[position];
    memmove(place + 1, place, (counters->length - position) * sizeof(struct counter));
    *place = (struct counter){{copy, name.length}, value};
    counters->length++;
}

const struct refusal *counters_add(struct counters *counters, struct text name, int64_t amount,
                                   int64_t *value) {
    if (!is_name(name)) {
        return &BAD_NAME;
    }
    size_t position = counters_seek(counters, name);
    if (!is_at(counters, position, name)) {
        if (counters->length == MAX_COUNTERS) {
            return &TOO_MANY;
        }
        insert(counters, position, name, amount);
        *value = amount;
        return NULL;
    }
    int64_t sum;
    if (__builtin_add_overflow(counters->list[position].value, amount, &sum)) {
        return &OUT_OF_RANGE;
    }
    *value = counters->list[position].value = sum;
    return NULL;
}

const struct refusal *counters_remove(struct counters *counters, struct text name, int64_t *value) {
    const struct refusal *refusal = counters_get(counters, name, value);
    if (refusal != NULL) {
        return refusal;
    }
    struct counter *place = &counters->list[counters_seek(counters, name)];
    free((char *)place->name.start);
    counters->length--;
    memmove(place, place + 1,
            (size_t)(&counters->list[counters->length] - place) * sizeof(struct counter));
    return NULL;
}

const struct refusal *counters_get(const struct counters *counters, struct text name,
                                   int64_t *value) {
    if (!is_name(name)) {
        return &BAD_NAME;
    }
    size_t position = counters_seek(counters, name);
    if (!is_at(counters, position, name)) {
        return &NO_COUNTER;
    }
    *value = counters->list[position].value;
    return NULL;
}

bool counters_push(struct counters *counters, struct text name, int64_t value) {
    if (!is_name(name) || counters->length == MAX_COUNTERS) {
        return false;
    }
    if (counters->length > 0 &&
        text_compare(counters->list[counters->length - 1].name, name) >= 0) {
        return false;
    }
    insert(counters, counters->length, name, value);
    return true;
}

void counters_free(struct counters *counters) {
    for (size_t i = 0; i < counters->length; i++) {
        free((char *)counters->list[i].name.start);
    }
    free(counters->list);
    *counters = (struct counters){NULL, 0, 0};
}
