//! Objects in which every scanner finds something, and of which every piece can be recognised.

pub use super::clamd::eicar;

/// What each piece of such an object holds.
const MARK: &[u8] = b"NEVER-TO-BE-SEEN ";

/// Such an object of so many bytes, at least as many as the string has, which stands `at` this place or as near to the end as it fits.
pub fn infected(length: usize, at: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = MARK.iter().copied().cycle().take(length).collect();
    let eicar = eicar();
    let at = at.min(length - eicar.len());
    bytes[at..at + eicar.len()].copy_from_slice(&eicar);
    bytes
}

/// Whether any of such an object is in these bytes: a mark, or a piece of the string.
pub fn is_infected(bytes: &[u8]) -> bool {
    let eicar = eicar();
    [MARK, &eicar[..20], &eicar[eicar.len() - 20..]]
        .iter()
        .any(|found| bytes.windows(found.len()).any(|window| window == *found))
}

#[test]
fn every_piece_of_an_infected_object_is_recognised() {
    for (length, at) in [(68, 0), (300, 0), (300, 100), (300, 232), (300, 300)] {
        let object = infected(length, at);
        assert_eq!(object.len(), length);
        assert!(object.windows(68).all(is_infected) && object.windows(68).any(|window| window == eicar()), "{at}");
    }
    assert!(!is_infected(&super::pattern(1000)));
}
