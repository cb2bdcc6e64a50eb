//! Tests of access control lists.

use proptest::prelude::*;

use super::*;

/// A list of entries: tag, permissions, id.
fn bytes(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for &(tag, may, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(may.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn list(entries: &[(u16, u16, u32)]) -> Acl {
    Acl::parse(&bytes(entries)).unwrap().unwrap()
}

const PLAIN: [(u16, u16, u32); 3] = [(1, 6, NO_ID), (4, 4, NO_ID), (0x20, 0, NO_ID)];
const FULL: [(u16, u16, u32); 6] =
    [(1, 7, NO_ID), (2, 6, 5), (4, 4, NO_ID), (8, 7, 9), (0x10, 6, NO_ID), (0x20, 1, NO_ID)];

#[test]
fn lists_have_one_form() {
    assert_eq!(list(&FULL).to_bytes(), bytes(&FULL));
    assert_eq!(Acl::parse(b""), Ok(None));
    assert_eq!(Acl::parse(&bytes(&[])), Ok(None));
    assert_eq!(Acl::parse(&[1, 0, 0, 0]), Err(Errno::EOPNOTSUPP));
    assert_eq!(Acl::parse(&[2, 0, 0]), Err(Errno::EINVAL));
    assert_eq!(Acl::parse(&bytes(&PLAIN)[..21]), Err(Errno::EINVAL));
    assert_eq!(Acl::parse(&bytes(&[(3, 0, 0)])), Err(Errno::EINVAL));
    assert_eq!(Acl::parse(&bytes(&[(2, 0, NO_ID)])), Err(Errno::EINVAL));
}

#[test]
fn entries_must_be_complete_and_in_order() {
    assert_eq!(list(&FULL).check_form(), Ok(()));
    assert_eq!(list(&PLAIN).check_form(), Ok(()));
    assert_eq!(list(&PLAIN[..2]).check_form(), Err(Errno::EINVAL));
    let without_mask = [FULL[0], FULL[1], FULL[2], FULL[5]];
    assert_eq!(list(&without_mask).check_form(), Err(Errno::EINVAL));
    let disordered = [PLAIN[1], PLAIN[0], PLAIN[2]];
    assert_eq!(list(&disordered).check_form(), Err(Errno::EINVAL));
    assert_eq!(list(&[(1, 8, NO_ID), PLAIN[1], PLAIN[2]]).check_form(), Err(Errno::EINVAL));
    assert_eq!(list(&[PLAIN[0], PLAIN[0], PLAIN[1], PLAIN[2]]).check_form(), Err(Errno::EINVAL));
}

#[test]
fn group_bits_are_the_mask() {
    assert_eq!(list(&PLAIN).mode_with(FileMode::new(0o4777)), (FileMode::new(0o4640), true));
    assert_eq!(list(&FULL).mode_with(FileMode::empty()), (FileMode::new(0o761), false));
    let mut full = list(&FULL);
    full.apply_mode(FileMode::new(0o513));
    assert_eq!(full.mode_with(FileMode::empty()), (FileMode::new(0o513), false));
    assert_eq!(full.entries[2].may, 4, "the group itself stays");
    let mut full = list(&FULL);
    assert_eq!(full.restrict_to(FileMode::new(0o1640)), (FileMode::new(0o1640), false));
    let mut plain = list(&PLAIN);
    assert_eq!(plain.restrict_to(FileMode::new(0o777)), (FileMode::new(0o640), true));
}

#[test]
fn the_first_entry_that_fits_decides() {
    let user = |uid, gid, groups: &[u32]| Credentials::user(uid, gid, groups.to_vec());
    let full = list(&FULL);
    let may = |who: &Credentials, wanted| full.check(who, (1, 2), wanted).is_ok();
    assert!(may(&user(1, 50, &[]), 7), "the owner is under no mask");
    assert!(may(&user(5, 50, &[]), 6) && !may(&user(5, 50, &[]), 1));
    assert!(!may(&user(5, 9, &[]), 1), "a user's own entry comes before those of groups");
    assert!(may(&user(6, 2, &[]), 4) && !may(&user(6, 2, &[]), 2));
    assert!(may(&user(6, 2, &[9]), 2), "any group is enough");
    assert!(!may(&user(6, 9, &[]), 1), "the mask takes it away");
    assert!(may(&user(6, 50, &[]), 1) && !may(&user(6, 50, &[]), 4));
    assert_eq!(list(&FULL[..3]).check(&user(6, 50, &[]), (1, 2), 4), Err(Errno::EIO));
}

proptest! {
    #[test]
    fn whatever_is_parsed_is_shown_the_same(value in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(Some(list)) = Acl::parse(&value) {
            let again = Acl::parse(&list.to_bytes()).unwrap();
            prop_assert_eq!(again, Some(list));
        }
    }

    #[test]
    fn a_mode_that_is_applied_is_the_mode(bits in 0u32..0o1000) {
        let mut full = list(&FULL);
        full.apply_mode(FileMode::new(bits));
        prop_assert_eq!(full.mode_with(FileMode::empty()).0, FileMode::new(bits));
    }
}
