//! The indexes of the routing's tables: types of their own, so that none is taken for another.

use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// Where a server stands in the routing, in one of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServerSlot(usize);

/// A route: the servers that can take the same calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RouteId(usize);

/// An index of a [`Table`].
pub(crate) trait TableIndex: Copy {
    /// The index of this position.
    fn at(position: usize) -> Self;
    /// The position that it stands for.
    fn position(self) -> usize;
}

impl TableIndex for ServerSlot {
    #[inline]
    fn at(position: usize) -> Self {
        Self(position)
    }

    #[inline]
    fn position(self) -> usize {
        self.0
    }
}

impl TableIndex for RouteId {
    #[inline]
    fn at(position: usize) -> Self {
        Self(position)
    }

    #[inline]
    fn position(self) -> usize {
        self.0
    }
}

/// A vector that has an index of its own type.
#[derive(Debug)]
pub(crate) struct Table<I, T>(Vec<T>, PhantomData<I>);

impl<I, T> Default for Table<I, T> {
    fn default() -> Self {
        Self(Vec::new(), PhantomData)
    }
}

impl<I: TableIndex, T> Table<I, T> {
    /// How many values it has.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value at this index, if there is one.
    #[inline]
    pub(crate) fn get(&self, index: I) -> Option<&T> {
        self.0.get(index.position())
    }

    /// The values, in order.
    #[inline]
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// The values with their indexes, in order.
    #[inline]
    pub(crate) fn entries(&self) -> impl Iterator<Item = (I, &T)> {
        self.0.iter().enumerate().map(|(position, value)| (I::at(position), value))
    }

    /// Adds a value at the end, and gives its index.
    pub(crate) fn push(&mut self, value: T) -> I {
        let index = I::at(self.0.len());
        self.0.push(value);
        index
    }

    /// The value at this index. A shorter table grows to it by default values.
    pub(crate) fn grown_to(&mut self, index: I) -> &mut T
    where
        T: Default,
    {
        if self.0.len() <= index.position() {
            self.0.resize_with(index.position() + 1, T::default);
        }
        &mut self[index]
    }

    /// Takes all values out.
    pub(crate) fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.0)
    }

    /// Forgets all values.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl<I: TableIndex, T> Index<I> for Table<I, T> {
    type Output = T;

    #[inline]
    fn index(&self, index: I) -> &T {
        &self.0[index.position()]
    }
}

impl<I: TableIndex, T> IndexMut<I> for Table<I, T> {
    #[inline]
    fn index_mut(&mut self, index: I) -> &mut T {
        &mut self.0[index.position()]
    }
}
