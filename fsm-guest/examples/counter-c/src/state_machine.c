// The counters as a component: what `wit-bindgen c` made of wit/fsm.wit, filled in.
//
// Who frees what: lists and strings that come in belong to us, and are freed with the functions of
// the bindings. Those that go out are allocated here, and the bindings free them once the host has
// them.

#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "fsm.h"
#include "saved.h"

// Names of the bindings, shortened.
typedef exports_rkv_fsm_state_machine_description_t description_t;
typedef exports_rkv_fsm_state_machine_failure_t failure_t;
typedef exports_rkv_fsm_state_machine_outcome_t outcome_t;
typedef exports_rkv_fsm_state_machine_list_entry_t entries_t;
typedef exports_rkv_fsm_state_machine_list_result_outcome_failure_t results_t;
typedef exports_rkv_fsm_state_machine_list_result_list_u8_failure_t answers_t;
typedef exports_rkv_fsm_state_machine_own_snapshot_t own_snapshot_t;
typedef exports_rkv_fsm_state_machine_own_restore_t own_restore_t;
typedef struct exports_rkv_fsm_state_machine_snapshot_t snapshot_t;
typedef struct exports_rkv_fsm_state_machine_restore_t restore_t;

#define NAME "counter"
#define VERSION "0.1.0-c"
#define PROTOCOL "rkv:counter@1"
#define SCHEMA 1

// Counters in one answer to `list`.
#define PAGE 1000

static const struct refusal NO_COMMAND = {1, "commands are `add NAME N` and `remove NAME`"};
static const struct refusal NO_QUERY = {1, "queries are `get NAME` and `list`, `list AFTER`"};
static const struct refusal BAD_NUMBER = {1, "N is a whole number of 64 bits"};
static const struct refusal BAD_SNAPSHOT = {4, "these bytes are no snapshot of counters"};
static const struct refusal FOREIGN_SNAPSHOT = {5, "a snapshot of another state machine or schema"};

// The state.
static struct counters live;

static struct text text_of_bytes(fsm_list_u8_t bytes) {
    return (struct text){(const char *)bytes.ptr, bytes.len};
}

// A copy that the bindings will free.
static fsm_list_u8_t bytes_of_text(struct text text) {
    fsm_list_u8_t bytes = {allocate(text.length, 1), text.length};
    if (text.length > 0) {
        memcpy(bytes.ptr, text.start, text.length);
    }
    return bytes;
}

static failure_t failure_of(const struct refusal *refusal) {
    failure_t failure = {.code = refusal->code};
    fsm_string_dup(&failure.message, refusal->message);
    return failure;
}

// Splits a line at its spaces. The number of words, or 0 if there are more than `most`.
static size_t split_words(struct text line, struct text *words, size_t most) {
    // A command may end in a line feed, as one that comes from `echo` does.
    if (line.length > 0 && line.start[line.length - 1] == '\n') {
        line.length--;
    }
    for (size_t count = 0; count < most; count++) {
        if (!text_split(&line, ' ', &words[count])) {
            return count + 1;
        }
    }
    return 0;
}

static bool is_word(struct text word, const char *expected) {
    return text_equals(word, text_of(expected));
}

static outcome_t outcome_of(struct text name, struct text response, struct text data) {
    rkv_fsm_types_event_t *event = allocate(1, sizeof *event);
    fsm_string_dup_n(&event->topic, name.start, name.length);
    event->data = bytes_of_text(data);
    return (outcome_t){.response = bytes_of_text(response), .events = {event, 1}};
}

// Runs one command. On success the outcome is set.
static const struct refusal *run(struct text command, outcome_t *outcome) {
    struct text words[3];
    size_t count = split_words(command, words, 3);
    const struct refusal *refusal;
    int64_t amount, value;
    char digits[NUMBER_BYTES];
    if (count == 3 && is_word(words[0], "add")) {
        if (!text_to_number(words[2], &amount)) {
            return &BAD_NUMBER;
        }
        refusal = counters_add(&live, words[1], amount, &value);
    } else if (count == 2 && is_word(words[0], "remove")) {
        refusal = counters_remove(&live, words[1], &value);
    } else {
        return &NO_COMMAND;
    }
    if (refusal != NULL) {
        return refusal;
    }
    struct text response = number_to_text(value, digits);
    // A counter that is gone has no value to tell.
    *outcome = outcome_of(words[1], response, count == 3 ? response : (struct text){NULL, 0});
    return NULL;
}

static void list_after(struct text after, struct buffer *answer) {
    size_t at = counters_seek(&live, after);
    if (at < live.length && text_equals(live.list[at].name, after)) {
        at++;
    }
    for (size_t end = live.length - at > PAGE ? at + PAGE : live.length; at < end; at++) {
        append_counter(answer, &live.list[at]);
    }
}

// Answers one query. On success the answer is appended.
static const struct refusal *ask(struct text query, struct buffer *answer) {
    struct text words[2] = {{NULL, 0}, {NULL, 0}};
    size_t count = split_words(query, words, 2);
    if (count == 2 && is_word(words[0], "get")) {
        int64_t value;
        char digits[NUMBER_BYTES];
        const struct refusal *refusal = counters_get(&live, words[1], &value);
        if (refusal == NULL) {
            buffer_append(answer, number_to_text(value, digits));
        }
        return refusal;
    }
    if (count > 0 && is_word(words[0], "list")) {
        // The empty text comes before every name.
        list_after(words[1], answer);
        return NULL;
    }
    return &NO_QUERY;
}

void exports_rkv_fsm_state_machine_describe(description_t *ret) {
    fsm_string_dup(&ret->name, NAME);
    fsm_string_dup(&ret->version, VERSION);
    ret->schema = SCHEMA;
    ret->reads_schemas = (fsm_list_u32_t){allocate(1, sizeof(uint32_t)), 1};
    ret->reads_schemas.ptr[0] = SCHEMA;
    ret->protocols = (fsm_list_string_t){allocate(1, sizeof(fsm_string_t)), 1};
    fsm_string_dup(&ret->protocols.ptr[0], PROTOCOL);
}

void exports_rkv_fsm_state_machine_apply(entries_t *batch, results_t *ret) {
    *ret = (results_t){allocate(batch->len, sizeof *ret->ptr), batch->len};
    for (size_t i = 0; i < batch->len; i++) {
        const struct refusal *refusal =
            run(text_of_bytes(batch->ptr[i].command), &ret->ptr[i].val.ok);
        ret->ptr[i].is_err = refusal != NULL;
        if (refusal != NULL) {
            ret->ptr[i].val.err = failure_of(refusal);
        }
    }
    exports_rkv_fsm_state_machine_list_entry_free(batch);
}

void exports_rkv_fsm_state_machine_query(exports_rkv_fsm_state_machine_context_t *now,
                                         fsm_list_list_u8_t *batch, answers_t *ret) {
    (void)now;
    *ret = (answers_t){allocate(batch->len, sizeof *ret->ptr), batch->len};
    for (size_t i = 0; i < batch->len; i++) {
        struct buffer answer = {NULL, 0, 0};
        const struct refusal *refusal = ask(text_of_bytes(batch->ptr[i]), &answer);
        ret->ptr[i].is_err = refusal != NULL;
        if (refusal != NULL) {
            ret->ptr[i].val.err = failure_of(refusal);
        } else {
            // The bytes are handed on as they are, so the buffer is not freed.
            ret->ptr[i].val.ok = (fsm_list_u8_t){(uint8_t *)answer.start, answer.length};
        }
    }
    fsm_list_list_u8_free(batch);
}

// A copy of the state, as bytes: 65536 counters take some megabytes. A state that is much larger
// should rather be shared with the live one until either changes.
struct exports_rkv_fsm_state_machine_snapshot_t {
    struct buffer saved;
    size_t read;
};

own_snapshot_t exports_rkv_fsm_state_machine_constructor_snapshot(void) {
    snapshot_t *snapshot = allocate(1, sizeof *snapshot);
    *snapshot = (snapshot_t){.saved = save(&live), .read = 0};
    return exports_rkv_fsm_state_machine_snapshot_new(snapshot);
}

void exports_rkv_fsm_state_machine_method_snapshot_read(snapshot_t *self, uint32_t max_bytes,
                                                        fsm_list_u8_t *ret) {
    struct text rest = {self->saved.start + self->read, self->saved.length - self->read};
    size_t most = max_bytes == 0 ? 1 : max_bytes;
    rest.length = rest.length > most ? most : rest.length;
    self->read += rest.length;
    *ret = bytes_of_text(rest);
}

void exports_rkv_fsm_state_machine_snapshot_destructor(snapshot_t *self) {
    buffer_free(&self->saved);
    free(self);
}

struct exports_rkv_fsm_state_machine_restore_t {
    struct loader loader;
    const struct refusal *refusal; // NULL as long as all is well
};

own_restore_t exports_rkv_fsm_state_machine_constructor_restore(description_t *saved) {
    struct text name = {(const char *)saved->name.ptr, saved->name.len};
    bool known = is_word(name, NAME) && saved->schema == SCHEMA;
    exports_rkv_fsm_state_machine_description_free(saved);

    restore_t *restore = allocate(1, sizeof *restore);
    // A constructor cannot fail, so the first write or the end does.
    *restore = (restore_t){.refusal = known ? NULL : &FOREIGN_SNAPSHOT};
    return exports_rkv_fsm_state_machine_restore_new(restore);
}

bool exports_rkv_fsm_state_machine_method_restore_write(restore_t *self, fsm_list_u8_t *chunk,
                                                        failure_t *err) {
    if (self->refusal == NULL && !loader_write(&self->loader, text_of_bytes(*chunk))) {
        self->refusal = &BAD_SNAPSHOT;
    }
    fsm_list_u8_free(chunk);
    if (self->refusal != NULL) {
        *err = failure_of(self->refusal);
    }
    return self->refusal == NULL;
}

bool exports_rkv_fsm_state_machine_static_restore_finish(own_restore_t this_, failure_t *err) {
    restore_t *self = exports_rkv_fsm_state_machine_restore_rep(this_);
    const struct refusal *refusal = self->refusal;
    if (refusal == NULL && !loader_is_complete(&self->loader)) {
        refusal = &BAD_SNAPSHOT;
    }
    if (refusal == NULL) {
        counters_free(&live);
        live = self->loader.counters;
        // Ours now: the destructor may not free them.
        self->loader.counters = (struct counters){NULL, 0, 0};
    } else {
        *err = failure_of(refusal);
    }
    exports_rkv_fsm_state_machine_restore_drop_own(this_);
    return refusal == NULL;
}

void exports_rkv_fsm_state_machine_restore_destructor(restore_t *self) {
    loader_free(&self->loader);
    free(self);
}
