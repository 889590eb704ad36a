;; A state machine in which each test replaces the function it is about: a line such as
;; `;;apply` stands for the body of that function. As it is, every call does the least that the
;; interface allows.
(module
  (import "[export]rkv:fsm/state-machine@0.1.0" "[resource-new]snapshot"
    (func $snapshot_new (param i32) (result i32)))
  (import "[export]rkv:fsm/state-machine@0.1.0" "[resource-new]restore"
    (func $restore_new (param i32) (result i32)))
  (import "[export]rkv:fsm/state-machine@0.1.0" "[resource-drop]restore"
    (func $restore_drop (param i32)))
  (import "rkv:fsm/log@0.1.0" "write" (func $log (param i32 i32 i32)))

  (memory (export "memory") 16)
  (table $table 4 funcref)
  (type $nothing (func))
  (global $free (mut i32) (i32.const 4096))
  ;; A shadow stack like that of Rust and C guests: it grows down, from 1 MiB.
  (global $stack (mut i32) (i32.const 1048576))
  (data (i32.const 64) "probe")
  (data (i32.const 192) "\ff\fe")

  ;; Zeroed memory, never freed. Eight-byte alignment does for every type of the interface.
  (func $alloc (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))

  ;; A return area with a list of `n` elements of `size` zeroed bytes: that is `n` times "ok" with
  ;; nothing in it.
  (func $list (param $n i32) (param $size i32) (result i32)
    (local $area i32)
    (local.set $area (call $alloc (i32.const 8)))
    (i32.store (local.get $area) (call $alloc (i32.mul (local.get $n) (local.get $size))))
    (i32.store offset=4 (local.get $area) (local.get $n))
    (local.get $area))

  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    ;;realloc
    (call $alloc (local.get $size)))

  (func (export "rkv:fsm/state-machine@0.1.0#describe") (result i32)
    (local $area i32)
    (local.set $area (call $alloc (i32.const 36)))
    (i32.store (local.get $area) (i32.const 64))
    (i32.store offset=4 (local.get $area) (i32.const 5))
    ;;describe
    (local.get $area))

  (func (export "rkv:fsm/state-machine@0.1.0#apply")
    (param $batch i32) (param $n i32) (result i32)
    (local $area i32)
    ;;apply
    (call $list (local.get $n) (i32.const 20)))

  (func (export "rkv:fsm/state-machine@0.1.0#query")
    (param $index i64) (param $term i64) (param $time i64) (param $seed i64)
    (param $batch i32) (param $n i32) (result i32)
    (local $area i32)
    ;;query
    (call $list (local.get $n) (i32.const 16)))

  (func (export "rkv:fsm/state-machine@0.1.0#[constructor]snapshot") (result i32)
    (call $snapshot_new (i32.const 1)))

  (func (export "rkv:fsm/state-machine@0.1.0#[method]snapshot.read")
    (param $self i32) (param $max i32) (result i32)
    ;;read
    (call $list (i32.const 0) (i32.const 1)))

  (func (export "rkv:fsm/state-machine@0.1.0#[constructor]restore")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (call $restore_new (i32.const 1)))

  (func (export "rkv:fsm/state-machine@0.1.0#[method]restore.write")
    (param $self i32) (param $chunk i32) (param $size i32) (result i32)
    (local $area i32)
    (local.set $area (call $alloc (i32.const 16)))
    ;;write
    (local.get $area))

  (func (export "rkv:fsm/state-machine@0.1.0#[static]restore.finish")
    (param $self i32) (result i32)
    (local $area i32)
    (call $restore_drop (local.get $self))
    (local.set $area (call $alloc (i32.const 16)))
    ;;finish
    (local.get $area))

  ;; Endless recursion, with and without a shadow stack.
  (func $recurse (param i32) (result i32)
    (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))
  (func $recurse_on_shadow_stack (param i32) (result i32)
    (global.set $stack (i32.sub (global.get $stack) (i32.const 16)))
    (i32.store (global.get $stack) (local.get 0))
    (i32.add
      (call $recurse_on_shadow_stack (i32.add (local.get 0) (i32.const 1)))
      (i32.load (global.get $stack))))
)
