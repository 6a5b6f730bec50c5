//! A walk through the names of a prefix, page by page of the store, for places where names are looked at one by one.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::s3::listing::{ListKind, ListPage, Listed, MAX_KEYS, Mark, Question};

/// A place in a listing of the store.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Place {
    /// Where the store's page begins.
    pub mark: Option<Mark>,
    /// The last name of that page that was taken, with its id.
    pub after: Option<(String, Option<String>)>,
}

/// A walk. Stores order names differently (SeaweedFS goes by folders, and by a hash for uploads), so it follows the store's own marks.
pub struct Walk<'a> {
    kind: ListKind,
    prefix: &'a str,
    start_after: Option<&'a str>,
    delimiter: Option<&'a str>,
    /// The page that `names` is the rest of, and the last name taken of it.
    pub place: Place,
    names: VecDeque<Listed>,
    next: Next,
}

/// What follows the names at hand.
enum Next {
    /// The page at the walk's place, of which names up to `after` were given before.
    Ask,
    /// The page of this mark.
    Page(Mark),
    /// Nothing.
    End,
}

impl<'a> Walk<'a> {
    /// A walk that begins at a place.
    pub fn new(
        kind: ListKind,
        prefix: &'a str,
        start_after: Option<&'a str>,
        delimiter: Option<&'a str>,
        place: Place,
    ) -> Self {
        Self { kind, prefix, start_after, delimiter, place, names: VecDeque::new(), next: Next::Ask }
    }

    /// The next name of the page at hand.
    pub fn take_name(&mut self) -> Option<Listed> {
        let name = self.names.pop_front()?;
        self.place.after = Some((name.name().to_owned(), name.id().map(str::to_owned)));
        Some(name)
    }

    /// The question for the next page, if there is one.
    pub fn next_question(&mut self) -> Option<Question<'_>> {
        match std::mem::replace(&mut self.next, Next::End) {
            Next::Ask => {}
            Next::Page(mark) => self.place = Place { mark: Some(mark), after: None },
            Next::End => return None,
        }
        Some(Question {
            kind: self.kind,
            prefix: self.prefix,
            start_after: self.start_after,
            mark: self.place.mark.as_ref(),
            delimiter: self.delimiter,
            max_keys: MAX_KEYS,
        })
    }

    /// Takes the page that the store gave.
    pub fn take_page(&mut self, mut page: ListPage) {
        if let Some(mark) = page.next.take() {
            self.next = Next::Page(mark);
        }
        let mut names = page.into_names();
        if let Some((name, id)) = &self.place.after {
            drop_taken(&mut names, name, id.as_deref());
        }
        self.names = names.into();
    }
}

/// Drops the names of a page up to the one that was taken last. It may be gone since: clients delete what they have listed. Then the order
/// tells, if there is one, and a name may come a second time rather than never.
fn drop_taken(names: &mut Vec<Listed>, name: &str, id: Option<&str>) {
    if let Some(at) = names.iter().position(|listed| listed.name() == name && listed.id() == id) {
        names.drain(..=at);
    } else if names.is_sorted_by(|one, next| one.name() <= next.name()) {
        // Other versions of the same key may not have been given yet.
        names.retain(|listed| listed.name() > name || id.is_some() && listed.name() == name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::listing::ListEntry;

    fn left(names: &[(&str, &str)], taken: (&str, &str)) -> Vec<(String, String)> {
        let id = |id: &str| Some(id.to_owned()).filter(|id| !id.is_empty());
        let entry = |(key, version): &(&str, &str)| {
            Listed::Entry(ListEntry { key: (*key).to_owned(), id: id(version), ..ListEntry::default() })
        };
        let mut names: Vec<_> = names.iter().map(entry).collect();
        drop_taken(&mut names, taken.0, id(taken.1).as_deref());
        names.iter().map(|name| (name.name().to_owned(), name.id().unwrap_or_default().to_owned())).collect()
    }

    fn owned(names: &[(&str, &str)]) -> Vec<(String, String)> {
        names.iter().map(|(key, id)| ((*key).to_owned(), (*id).to_owned())).collect()
    }

    #[test]
    fn a_page_goes_on_behind_the_name_taken_last() {
        assert_eq!(left(&[("a", ""), ("b", ""), ("c", "")], ("b", "")), owned(&[("c", "")]));
        assert_eq!(left(&[("a", "2"), ("a", "1"), ("b", "1")], ("a", "2")), owned(&[("a", "1"), ("b", "1")]));
        assert_eq!(left(&[("a/x", ""), ("a-b", "")], ("a/x", "")), owned(&[("a-b", "")]), "in the store's order");
    }

    #[test]
    fn a_page_goes_on_where_a_name_was_that_is_gone() {
        assert_eq!(left(&[("a", ""), ("c", "")], ("b", "")), owned(&[("c", "")]));
        assert_eq!(left(&[("a", "1"), ("b", "1"), ("c", "1")], ("b", "2")), owned(&[("b", "1"), ("c", "1")]));
        assert_eq!(left(&[("c/x", ""), ("a-b", "")], ("b", "")), owned(&[("c/x", ""), ("a-b", "")]), "no order tells");
    }
}
