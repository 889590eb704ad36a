#include "text.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DIGITS 19
#define FIRST_CAPACITY 64

void *allocate(size_t count, size_t size) {
    return count == 0 ? NULL : reallocate(NULL, count, size);
}

void *reallocate(void *memory, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        abort();
    }
    memory = realloc(memory, bytes);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

struct text text_of(const char *terminated) {
    return (struct text){terminated, strlen(terminated)};
}

bool text_equals(struct text one, struct text other) {
    return text_compare(one, other) == 0;
}

int text_compare(struct text one, struct text other) {
    size_t common = one.length < other.length ? one.length : other.length;
    // Without a byte there may be no pointer either, which memcmp does not take.
    int order = common == 0 ? 0 : memcmp(one.start, other.start, common);
    if (order != 0) {
        return order;
    }
    return (one.length > other.length) - (one.length < other.length);
}

bool text_split(struct text *rest, char separator, struct text *front) {
    const char *end = rest->length == 0 ? NULL : memchr(rest->start, separator, rest->length);
    *front = *rest;
    if (end == NULL) {
        *rest = (struct text){NULL, 0};
        return false;
    }
    front->length = (size_t)(end - rest->start);
    rest->start += front->length + 1;
    rest->length -= front->length + 1;
    return true;
}

bool text_to_number(struct text text, int64_t *number) {
    bool negative = text.length > 0 && text.start[0] == '-';
    size_t digits = text.length - negative;
    if (digits == 0 || digits > MAX_DIGITS) {
        return false;
    }
    // 19 digits fit without a sign, and one half of what fits is negative.
    uint64_t magnitude = 0;
    for (size_t i = negative; i < text.length; i++) {
        if (text.start[i] < '0' || text.start[i] > '9') {
            return false;
        }
        magnitude = 10 * magnitude + (uint64_t)(text.start[i] - '0');
    }
    if (magnitude > (uint64_t)INT64_MAX + negative) {
        return false;
    }
    *number = (int64_t)(negative ? -magnitude : magnitude);
    return true;
}

struct text number_to_text(int64_t number, char digits[NUMBER_BYTES]) {
    uint64_t magnitude = number < 0 ? -(uint64_t)number : (uint64_t)number;
    char *start = digits + NUMBER_BYTES;
    do {
        *--start = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude > 0);
    if (number < 0) {
        *--start = '-';
    }
    return (struct text){start, (size_t)(digits + NUMBER_BYTES - start)};
}

void buffer_append(struct buffer *buffer, struct text text) {
    if (text.length == 0) {
        return;
    }
    size_t length;
    if (__builtin_add_overflow(buffer->length, text.length, &length)) {
        abort();
    }
    if (length > buffer->capacity) {
        size_t capacity = buffer->capacity == 0 ? FIRST_CAPACITY : buffer->capacity;
        while (capacity < length) {
            // The last doubling that a 32-bit address space has room for would overflow.
            capacity = capacity > SIZE_MAX / 2 ? length : 2 * capacity;
        }
        buffer->start = reallocate(buffer->start, capacity, 1);
        buffer->capacity = capacity;
    }
    memcpy(buffer->start + buffer->length, text.start, text.length);
    buffer->length = length;
}

void buffer_free(struct buffer *buffer) {
    free(buffer->start);
    *buffer = (struct buffer){NULL, 0, 0};
}
