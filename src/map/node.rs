//! What a map's slots point at.

use crate::rcu::{Header, Kind};

/// What the table knows of an entry.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Head {
    /// For when the entry is retired.
    pub(super) header: Header,
    /// The mixed hash: a table that moves entries asks no key.
    pub(super) hash: u64,
}

/// An entry. Never changed once it is published.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Node<K, V> {
    pub(super) head: Head,
    pub(super) key: K,
    pub(super) value: V,
}

impl<K, V> Node<K, V> {
    const KIND: &'static Kind =
        &Kind { run: Self::free_header, bytes: |_| size_of::<Node<K, V>>() };

    pub(super) fn boxed(hash: u64, key: K, value: V) -> Box<Node<K, V>> {
        Box::new(Node { head: Head { header: Header::new(Self::KIND), hash }, key, value })
    }

    /// # Safety
    ///
    /// As for [`free`](Node::free), of the node that the header begins.
    unsafe fn free_header(header: *mut Header) {
        // SAFETY: the caller's promise; a head begins with its header.
        unsafe { Self::free(header.cast()) }
    }

    /// # Safety
    ///
    /// `head` begins a boxed `Node<K, V>` that nobody else uses.
    pub(super) unsafe fn free(head: *mut Head) {
        // SAFETY: the caller's promise; a node begins with its head.
        drop(unsafe { Box::from_raw(head.cast::<Node<K, V>>()) });
    }

    /// # Safety
    ///
    /// `head` begins a live `Node<K, V>`, for as long as `'g`.
    #[inline(always)]
    pub(super) unsafe fn of<'g>(head: *mut Head) -> &'g Node<K, V> {
        // SAFETY: the caller's promise.
        unsafe { &*head.cast::<Node<K, V>>() }
    }
}

/// An entry that is not published yet: its key, and once there is a value, its node.
pub(super) enum Draft<K, V> {
    Key(K),
    Node(Box<Node<K, V>>),
    Empty,
}

impl<K, V> Draft<K, V> {
    pub(super) fn key(&self) -> &K {
        match self {
            Draft::Key(key) => key,
            Draft::Node(node) => &node.key,
            Draft::Empty => unreachable!("a draft is emptied last"),
        }
    }

    pub(super) fn has_value(&self) -> bool {
        matches!(self, Draft::Node(_))
    }

    /// Gives it a value, in place of one that it may have.
    pub(super) fn set_value(&mut self, hash: u64, value: V) {
        match self {
            Draft::Node(node) => node.value = value,
            Draft::Key(_) => {
                let Draft::Key(key) = std::mem::replace(self, Draft::Empty) else {
                    unreachable!("it is one")
                };
                *self = Draft::Node(Node::boxed(hash, key, value));
            }
            Draft::Empty => unreachable!("a draft is emptied last"),
        }
    }

    /// The node, for whoever publishes it or gives it [back](Draft::from_raw).
    pub(super) fn take_raw(&mut self) -> *mut Head {
        match std::mem::replace(self, Draft::Empty) {
            Draft::Node(node) => Box::into_raw(node).cast(),
            _ => unreachable!("only what has a value is published"),
        }
    }

    /// # Safety
    ///
    /// `head` is from [`take_raw`](Draft::take_raw) and was not published.
    pub(super) unsafe fn from_raw(head: *mut Head) -> Draft<K, V> {
        // SAFETY: the caller's promise.
        Draft::Node(unsafe { Box::from_raw(head.cast()) })
    }

    pub(super) fn into_entry(self) -> Option<(K, V)> {
        match self {
            Draft::Node(node) => {
                let Node { key, value, .. } = *node;
                Some((key, value))
            }
            _ => None,
        }
    }
}
