//! Which of its types may be sent and shared.

use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::MutexGuard;
use stillpoint::lock::{RawRwLock, ReadState};
use stillpoint::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard,
    RwLockUpgradableReadGuard, RwLockWriteGuard,
};

/// Asks the compiler: the constants below hide the trait's where their bound holds.
struct Is<T: ?Sized>(PhantomData<T>);

trait Otherwise {
    const SEND: bool = false;
    const SYNC: bool = false;
}

impl<T: ?Sized> Otherwise for Is<T> {}

impl<T: ?Sized + Send> Is<T> {
    const SEND: bool = true;
}

impl<T: ?Sized + Sync> Is<T> {
    const SYNC: bool = true;
}

/// Whether guards may be sent.
const SENT: bool = cfg!(feature = "send_guard");

type Read<T> = RwLockReadGuard<'static, T>;
type Write<T> = RwLockWriteGuard<'static, T>;
type Upgradable<T> = RwLockUpgradableReadGuard<'static, T>;
type MappedRead<T> = MappedRwLockReadGuard<'static, T>;
type MappedWrite<T> = MappedRwLockWriteGuard<'static, T>;
/// Shared, never sent.
type Unsent = MutexGuard<'static, ()>;

/// Shared only if what it protects may be both shared and sent.
#[test]
fn a_lock_is_as_its_value() {
    const {
        assert!(Is::<RawRwLock>::SEND && Is::<RawRwLock>::SYNC);
        assert!(Is::<RwLock<i32>>::SEND && Is::<RwLock<i32>>::SYNC);
        assert!(Is::<RwLock<[i32]>>::SEND && Is::<RwLock<[i32]>>::SYNC);
        assert!(Is::<RwLock<Cell<i32>>>::SEND && !Is::<RwLock<Cell<i32>>>::SYNC);
        assert!(!Is::<RwLock<Unsent>>::SEND && !Is::<RwLock<Unsent>>::SYNC);
        assert!(!Is::<RwLock<Rc<i32>>>::SEND && !Is::<RwLock<Rc<i32>>>::SYNC);
    }
}

#[test]
fn a_guard_stays_unless_the_feature_is_chosen() {
    const {
        assert!(Is::<ReadState>::SEND == SENT && Is::<ReadState>::SYNC);
        assert!(Is::<Read<i32>>::SEND == SENT && Is::<Read<i32>>::SYNC);
        assert!(Is::<Write<i32>>::SEND == SENT && Is::<Write<i32>>::SYNC);
        assert!(Is::<Upgradable<i32>>::SEND == SENT && Is::<Upgradable<i32>>::SYNC);
        assert!(Is::<MappedRead<i32>>::SEND == SENT && Is::<MappedRead<i32>>::SYNC);
        assert!(Is::<MappedWrite<i32>>::SEND == SENT && Is::<MappedWrite<i32>>::SYNC);
    }
}

#[test]
fn a_guard_does_not_show_more_than_its_value_may() {
    const {
        assert!(!Is::<Read<Cell<i32>>>::SEND && !Is::<Read<Cell<i32>>>::SYNC);
        assert!(!Is::<Write<Cell<i32>>>::SYNC);
        assert!(!Is::<MappedRead<Cell<i32>>>::SEND && !Is::<MappedRead<Cell<i32>>>::SYNC);
        assert!(!Is::<MappedWrite<Cell<i32>>>::SYNC);
        assert!(!Is::<Write<Rc<i32>>>::SEND && !Is::<MappedWrite<Rc<i32>>>::SEND);
    }
}

/// A raw lock alone may stand in what crosses an unwinding; its value decides otherwise.
#[test]
fn unwinding_is_no_obstacle() {
    fn safe<T: UnwindSafe + RefUnwindSafe>() {}
    safe::<RawRwLock>();
}
