;; A state machine that keeps to all rules: it counts the commands that it accepts, and answers each
;; with the count. Tests break it in one place each: a line such as `;;each` stands for code there.
;;
;; Commands whose first byte is even are accepted, others refused. A snapshot is the count.
(module
  (import "[export]rkv:fsm/state-machine@0.1.0" "[resource-new]snapshot"
    (func $snapshot_new (param i32) (result i32)))
  (import "[export]rkv:fsm/state-machine@0.1.0" "[resource-new]restore"
    (func $restore_new (param i32) (result i32)))
  (import "[export]rkv:fsm/state-machine@0.1.0" "[resource-rep]restore"
    (func $restore_rep (param i32) (result i32)))
  (import "[export]rkv:fsm/state-machine@0.1.0" "[resource-drop]restore"
    (func $restore_drop (param i32)))

  (memory (export "memory") 16)
  (global $free (mut i32) (i32.const 4096))
  (data (i32.const 64) "counter")

  ;; The state.
  (global $count (mut i64) (i64.const 0))
  ;; What is no state: calls of `apply`, and commands since the instance was made.
  (global $calls (mut i64) (i64.const 0))
  (global $unsaved (mut i64) (i64.const 0))

  ;; Zeroed memory, never freed, aligned to eight bytes.
  (func $alloc (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (block $enough
      (loop $more
        (br_if $enough
          (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $more)))
    (local.get $at))

  ;; A return area with a list of `n` elements of `size` zeroed bytes.
  (func $list (param $n i32) (param $size i32) (result i32)
    (local $area i32)
    (local.set $area (call $alloc (i32.const 8)))
    (i32.store (local.get $area) (call $alloc (i32.mul (local.get $n) (local.get $size))))
    (i32.store offset=4 (local.get $area) (local.get $n))
    (local.get $area))

  ;; Eight bytes with `value` in them.
  (func $bytes_of (param $value i64) (result i32)
    (local $at i32)
    (local.set $at (call $alloc (i32.const 8)))
    (i64.store (local.get $at) (local.get $value))
    (local.get $at))

  ;; A failure without a message in a result area.
  (func $fail (param $area i32) (param $code i32)
    (i32.store8 (local.get $area) (i32.const 1))
    (i32.store offset=4 (local.get $area) (local.get $code)))

  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (call $alloc (local.get $size)))

  (func (export "rkv:fsm/state-machine@0.1.0#describe") (result i32)
    (local $area i32)
    (local.set $area (call $alloc (i32.const 36)))
    (i32.store (local.get $area) (i32.const 64))
    (i32.store offset=4 (local.get $area) (i32.const 7))
    ;;describe
    (local.get $area))

  (func (export "rkv:fsm/state-machine@0.1.0#apply")
    (param $entry i32) (param $n i32) (result i32)
    (local $area i32) (local $result i32) (local $left i32) (local $value i64)
    (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
    (local.set $area (call $list (local.get $n) (i32.const 20)))
    (local.set $result (i32.load (local.get $area)))
    (local.set $left (local.get $n))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (if
          (i32.or
            (i32.eqz (i32.load offset=36 (local.get $entry)))
            (i32.and (i32.load8_u (i32.load offset=32 (local.get $entry))) (i32.const 1)))
          (then
            ;;refuse
            (call $fail (local.get $result) (i32.const 9)))
          (else
            (global.set $count (i64.add (global.get $count) (i64.const 1)))
            (global.set $unsaved (i64.add (global.get $unsaved) (i64.const 1)))
            (local.set $value (global.get $count))
            ;;each
            (i32.store offset=4 (local.get $result) (call $bytes_of (local.get $value)))
            (i32.store offset=8 (local.get $result) (i32.const 8))))
        (local.set $entry (i32.add (local.get $entry) (i32.const 40)))
        (local.set $result (i32.add (local.get $result) (i32.const 20)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (local.get $area))

  (func (export "rkv:fsm/state-machine@0.1.0#query")
    (param $index i64) (param $term i64) (param $time i64) (param $seed i64)
    (param $batch i32) (param $n i32) (result i32)
    (local $area i32) (local $answer i32) (local $left i32) (local $value i64)
    (local.set $area (call $list (local.get $n) (i32.const 16)))
    (local.set $answer (i32.load (local.get $area)))
    (local.set $left (local.get $n))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $value (global.get $count))
        ;;query
        (i32.store offset=4 (local.get $answer) (call $bytes_of (local.get $value)))
        (i32.store offset=8 (local.get $answer) (i32.const 8))
        (local.set $answer (i32.add (local.get $answer) (i32.const 16)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (local.get $area))

  ;; A snapshot is how many of its bytes were read, and at 8 its bytes.
  (func (export "rkv:fsm/state-machine@0.1.0#[constructor]snapshot") (result i32)
    (local $self i32)
    (local.set $self (call $alloc (i32.const 16)))
    (i64.store offset=8 (local.get $self) (global.get $count))
    ;;freeze
    (call $snapshot_new (local.get $self)))

  (func (export "rkv:fsm/state-machine@0.1.0#[method]snapshot.read")
    (param $self i32) (param $max i32) (result i32)
    (local $area i32) (local $from i32) (local $size i32)
    (local.set $from (i32.load (local.get $self)))
    (local.set $size (i32.sub (i32.const 8) (local.get $from)))
    (if (i32.gt_u (local.get $size) (local.get $max))
      (then (local.set $size (local.get $max))))
    ;;read
    (i32.store (local.get $self) (i32.add (local.get $from) (local.get $size)))
    (local.set $area (call $alloc (i32.const 8)))
    (i32.store (local.get $area)
      (i32.add (i32.add (local.get $self) (i32.const 8)) (local.get $from)))
    (i32.store offset=4 (local.get $area) (local.get $size))
    (local.get $area))

  ;; A restore is how many bytes were written, and at 8 the bytes.
  (func (export "rkv:fsm/state-machine@0.1.0#[constructor]restore")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $restore_new (call $alloc (i32.const 16))))

  (func (export "rkv:fsm/state-machine@0.1.0#[method]restore.write")
    (param $self i32) (param $chunk i32) (param $size i32) (result i32)
    (local $area i32) (local $end i32)
    (local.set $area (call $alloc (i32.const 16)))
    (local.set $end (i32.add (i32.load (local.get $self)) (local.get $size)))
    (if (i32.gt_u (local.get $end) (i32.const 8))
      (then
        (call $fail (local.get $area) (i32.const 4))
        (return (local.get $area))))
    (memory.copy
      (i32.add (i32.add (local.get $self) (i32.const 8)) (i32.load (local.get $self)))
      (local.get $chunk)
      (local.get $size))
    (i32.store (local.get $self) (local.get $end))
    ;;write
    (local.get $area))

  (func (export "rkv:fsm/state-machine@0.1.0#[static]restore.finish")
    (param $handle i32) (result i32)
    (local $area i32) (local $self i32)
    (local.set $area (call $alloc (i32.const 16)))
    (local.set $self (call $restore_rep (local.get $handle)))
    (call $restore_drop (local.get $handle))
    (if (i32.eq (i32.load (local.get $self)) (i32.const 8))
      (then (global.set $count (i64.load offset=8 (local.get $self))))
      (else (call $fail (local.get $area) (i32.const 4))))
    ;;finish
    (local.get $area))
)
