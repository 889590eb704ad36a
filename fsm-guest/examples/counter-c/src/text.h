// Bytes that come in as they are, bytes that go out as they are made, and the numbers in them.
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Room for any 64-bit number in decimal, with its sign.
#define NUMBER_BYTES 20

// Bytes that somebody else owns. Not terminated by a zero.
struct text {
    const char *start;
    size_t length;
};

// Bytes that grow at the end. All zero is an empty one.
struct buffer {
    char *start;
    size_t length;
    size_t capacity;
};

// Memory for `count` things of `size` bytes, to be freed; none for a count of 0. It never fails:
// when no memory is left it traps, since what this node has left is no outcome of a command.
void *allocate(size_t count, size_t size);

// The same for something that has to grow, and keeps what it holds.
void *reallocate(void *memory, size_t count, size_t size);

struct text text_of(const char *terminated);
bool text_equals(struct text one, struct text other);

// Negative, 0 or positive, as `one` comes before, is, or comes after `other`, byte by byte.
int text_compare(struct text one, struct text other);

// Takes what comes before the first `separator` off the front of `rest`, and the separator with it.
// Without one this is all that is left, and the result is false.
bool text_split(struct text *rest, char separator, struct text *front);

// A 64-bit number: a minus if need be, and 1 to 19 decimal digits. False if `text` is none.
bool text_to_number(struct text text, int64_t *number);

// Writes `number` in decimal to `digits`.
struct text number_to_text(int64_t number, char digits[NUMBER_BYTES]);

void buffer_append(struct buffer *buffer, struct text text);
void buffer_free(struct buffer *buffer);

#endif
