//! Links that lead nowhere, and pages that nobody finds.

use super::*;

/// Files of a project, with what is wrong with the pages among them.
fn wrong(files: &[(&str, &str)]) -> Vec<String> {
    let names: Vec<String> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
    let there = Files::new(&names);
    let pages: BTreeMap<&str, Page> = files
        .iter()
        .filter(|(name, _)| name.ends_with(".md"))
        .map(|(name, text)| (*name, Page::read(text)))
        .collect();
    let links = |(file, page): (&&str, &Page)| -> Vec<String> {
        let links = page.links.iter();
        links
            .filter_map(|link| astray(file, link, &there, &pages))
            .collect()
    };
    let mut wrong: Vec<String> = pages.iter().flat_map(links).collect();
    wrong.extend(summary(&pages));
    wrong
}

#[test]
fn a_link_leads_to_a_file_and_a_heading() {
    let files = |link: &str| {
        let text = format!("# A\n\n## `x`: b, c_d\n\n## A\n\n[it]({link})\n");
        wrong(&[("README.md", &text), ("a/b.md", "# Far"), ("a/c.rs", "")])
    };
    for good in [
        "a/b.md",
        "a/b.md#far",
        "./a/../a/b.md",
        "a/",
        "a/c.rs#L1",
        "#a",
        "#a-1",
        "#x-b-c_d",
        "https://example.com/nothing",
    ] {
        assert_eq!(files(good), Vec::<String>::new(), "{good}");
    }
    for bad in ["a/d.md", "b.md", "../README.md", "a/b.md#near", "#a-2"] {
        let found = files(bad);
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
        assert!(found[0].starts_with("README.md:7: "), "{found:?}");
    }
}

#[test]
fn the_book_is_whole_and_by_itself() {
    let book = |summary: &str, page: &str| {
        wrong(&[
            ("README.md", ""),
            ("docs/SUMMARY.md", summary),
            ("docs/a/b.md", page),
        ])
    };
    assert_eq!(book("- [B](a/b.md)", "# B"), Vec::<String>::new());
    let found = book("- [B](a/b.md)", "[x](../../README.md)");
    assert!(found[0].contains("isn't a page of the book"), "{found:?}");
    for (list, times) in [("", 0), ("- [B](a/b.md)\n- [C](a/b.md)", 2)] {
        let found = book(list, "# B");
        let expected = format!("docs/a/b.md {times} times");
        assert!(found[0].contains(&expected), "{found:?}");
    }
}

#[test]
fn a_name_that_looks_like_a_file_is_one() {
    let files = ["a/b/c.rs".to_owned(), "a/d".to_owned()];
    let there = Files::new(&files);
    for good in [
        "a/b", "a/b/", "a/b/c.rs", "x/y.rs", "a", "a/NAME", "a/b *", "a",
    ] {
        assert!(!there.lacks(good), "{good}");
    }
    for bad in ["a/c.rs", "a/b/d", "a/c/"] {
        assert!(there.lacks(bad), "{bad}");
    }
}
