//! ACL lists by number: a znode holds the number, the list is kept once.
//!
//! Numbers are given in the order of first use, so servers that apply the same transactions to the
//! same snapshot number alike. A list is dropped with its last znode, its number is not used again.
//! The open list is -1 and needs no entry; both conventions are those of Java's snapshots.

use foldhash::quality::FixedState;
use hashbrown::HashMap;
use imbl::OrdMap;

use crate::acl::AclList;

/// The number of the open list.
pub(crate) const OPEN: i64 = -1;

static OPEN_LIST: AclList = AclList::OPEN;

#[derive(Clone, Debug)]
struct Entry {
    list: AclList,
    uses: u64,
}

/// The lists in use. `lists` is persistent, so that freezing the tree costs nothing here.
pub(crate) struct AclTable {
    lists: OrdMap<i64, Entry>,
    numbers: HashMap<AclList, i64, FixedState>,
    last: i64,
}

/// The lists as they were at a freeze.
#[derive(Clone)]
pub(crate) struct FrozenAcls(OrdMap<i64, Entry>);

impl AclTable {
    pub(crate) fn new(seed: u64) -> Self {
        let numbers = HashMap::with_hasher(FixedState::with_seed(seed));
        Self { lists: OrdMap::new(), numbers, last: 0 }
    }

    /// The list with this number.
    pub(crate) fn get(&self, number: i64) -> &AclList {
        if number == OPEN {
            return &OPEN_LIST;
        }
        let entry = self.lists.get(&number);
        &entry.expect("a list is kept while a znode uses it").list
    }

    pub(crate) fn contains(&self, number: i64) -> bool {
        number == OPEN || self.lists.contains_key(&number)
    }

    /// Counts one more use of a list and returns its number.
    pub(crate) fn add_use(&mut self, list: AclList) -> i64 {
        if list.is_open() {
            return OPEN;
        }
        let number = if let Some(number) = self.numbers.get(&list) {
            *number
        } else {
            self.last += 1;
            self.register(self.last, list);
            self.last
        };
        self.count_use(number);
        number
    }

    /// Counts one more use of a list that is registered.
    pub(crate) fn count_use(&mut self, number: i64) {
        if number != OPEN {
            let entry = self.lists.get_mut(&number);
            entry.expect("a list is registered before it is used").uses += 1;
        }
    }

    /// Takes back one use; the last one drops the list.
    pub(crate) fn drop_use(&mut self, number: i64) {
        if number == OPEN {
            return;
        }
        let entry = self.lists.get_mut(&number).expect("a list is kept while a znode uses it");
        entry.uses -= 1;
        if entry.uses == 0 {
            self.forget(number);
        }
    }

    /// Adds a list under the number that a snapshot gave it, unused as yet. False when the number
    /// is taken.
    pub(crate) fn register(&mut self, number: i64, list: AclList) -> bool {
        if self.contains(number) {
            return false;
        }
        self.last = self.last.max(number);
        self.numbers.insert(list.clone(), number);
        self.lists.insert(number, Entry { list, uses: 0 });
        true
    }

    /// Drops the lists that nothing uses; a snapshot of a Java server may have some.
    pub(crate) fn drop_unused(&mut self) {
        let unused: Vec<i64> =
            self.lists.iter().filter(|(_, entry)| entry.uses == 0).map(|(it, _)| *it).collect();
        unused.into_iter().for_each(|number| self.forget(number));
    }

    fn forget(&mut self, number: i64) {
        let entry = self.lists.remove(&number).expect("the caller found it");
        // A snapshot may hold one list under two numbers; the newer is the one to find.
        if self.numbers.get(&entry.list) == Some(&number) {
            self.numbers.remove(&entry.list);
        }
    }

    pub(crate) fn freeze(&self) -> FrozenAcls {
        FrozenAcls(self.lists.clone())
    }
}

impl FrozenAcls {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The first list with a number above `number`.
    pub(crate) fn next_after(&self, number: Option<i64>) -> Option<(i64, &AclList)> {
        let found = match number {
            None => self.0.get_min(),
            Some(number) => {
                let above = (std::ops::Bound::Excluded(number), std::ops::Bound::Unbounded);
                return self.0.range(above).next().map(|(number, entry)| (*number, &entry.list));
            }
        };
        found.map(|(number, entry)| (*number, &entry.list))
    }
}
