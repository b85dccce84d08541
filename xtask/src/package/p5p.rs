//! IPS archives: an uncompressed tar archive with an index in front, a
//! repository's files and a description of it (pkg(7), pkgrecv(1)).
//!
//! Rules     I1  a payload is stored once, by the SHA-1 of its bytes, in
//!               gzip's form.
//!           I2  the index says for each member where it starts, counted from
//!               the end of the index, and how many bytes it takes up.

use super::gzip;
use super::manifest::Action;
use anyhow::{Context, Result, ensure};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The name of the form of the index.
const COMMENT: &str = "pkg5.archive.version.0";

/// A package to be put into an archive.
pub(super) struct Package {
    pub(super) publisher: &'static str,
    /// As `driver/network/opte`.
    pub(super) name: &'static str,
    /// With time, as `0.1.0,5.11-0:20260101T000000Z`.
    pub(super) version: String,
    pub(super) actions: Vec<Action>,
}

/// The archive; `payload` reads what an action names.
pub(super) fn archive(
    package: &Package,
    payload: impl Fn(&str) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut manifest = String::new();
    for action in &package.actions {
        let mut action = action.clone();
        if let Some(name) = action.payload.take() {
            let bytes = payload(&name).with_context(|| action.line())?;
            let (hash, packed) = describe(&mut action, &bytes)?;
            files.insert(hash, packed);
        }
        manifest.push_str(&action.line());
        manifest.push('\n');
    }
    let mut body = Body::default();
    let home = format!("publisher/{}", package.publisher);
    let folder = format!("{home}/pkg/{}", quoted(package.name));
    for path in ["publisher", &home, &format!("{home}/pkg"), &folder] {
        body.folder(path)?;
    }
    body.file(
        &format!("{folder}/{}", quoted(&package.version)),
        manifest.as_bytes(),
    )?;
    body.folder(&format!("{home}/file"))?;
    let mut last = String::new();
    for (hash, packed) in &files {
        let start = hash.get(..2).context("a short hash")?;
        if start != last {
            body.folder(&format!("{home}/file/{start}"))?;
            start.clone_into(&mut last);
        }
        body.file(&format!("{home}/file/{start}/{hash}"), packed)?;
    }
    let about = format!(
        "[CONFIGURATION]\nversion = 4\n\n[publisher]\nprefix = {}\n\n[repository]\nversion = 4\n\n",
        package.publisher
    );
    body.file("pkg5.repository", about.as_bytes())?;
    let mut archive = index_member(&body.index)?;
    archive.extend(body.bytes);
    archive.resize(archive.len() + 1024, 0);
    Ok(archive)
}

/// Adds to an action what its payload is, and says under which name it is
/// stored, and how.
fn describe(action: &mut Action, bytes: &[u8]) -> Result<(String, Vec<u8>)> {
    let packed = gzip(bytes)?;
    let hash = hex(&Sha1::digest(bytes));
    let mut put = |name: &str, value| action.attributes.push((name.to_owned(), value));
    put("chash", hex(&Sha1::digest(&packed)));
    put(
        "pkg.content-hash",
        format!("file:sha256:{}", hex(&Sha256::digest(bytes))),
    );
    put(
        "pkg.content-hash",
        format!("gzip:sha256:{}", hex(&Sha256::digest(&packed))),
    );
    put("pkg.csize", packed.len().to_string());
    put("pkg.size", bytes.len().to_string());
    action.payload = Some(hash.clone());
    Ok((hash, packed))
}

/// What follows the index.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    index: Vec<u8>,
}

impl Body {
    fn folder(&mut self, path: &str) -> Result<()> {
        self.put(path, tar::EntryType::Directory, &[])
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.put(path, tar::EntryType::Regular, bytes)
    }

    fn put(&mut self, path: &str, kind: tar::EntryType, bytes: &[u8]) -> Result<()> {
        let start = self.bytes.len();
        let header = header(path, kind, bytes.len())?;
        self.bytes.extend(header.as_bytes());
        extend(&mut self.bytes, bytes);
        let taken = self.bytes.len().saturating_sub(start);
        let letter = char::from(kind.as_byte());
        let line = format!("{path}\0{start}\0{taken}\0{}\0{letter}\0\n", bytes.len());
        self.index.extend(line.into_bytes());
        Ok(())
    }
}

/// A member that is marked as an index.
fn index_member(index: &[u8]) -> Result<Vec<u8>> {
    let packed = gzip(index)?;
    // A record counts itself.
    let record = format!("comment={COMMENT}\n");
    let len = record.len() + 3;
    let record = format!("{len} {record}");
    ensure!(record.len() == len, "the record's length isn't its length");
    let mut out = Vec::new();
    let head = header("pkg5.index.0.gz.pax", tar::EntryType::XHeader, record.len())?;
    out.extend(head.as_bytes());
    extend(&mut out, record.as_bytes());
    let head = header("pkg5.index.0.gz", tar::EntryType::Regular, packed.len())?;
    out.extend(head.as_bytes());
    extend(&mut out, &packed);
    Ok(out)
}

/// Bytes, filled up to whole blocks.
fn extend(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
}

fn header(path: &str, kind: tar::EntryType, len: usize) -> Result<tar::Header> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).with_context(|| path.to_owned())?;
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    header.set_mtime(0);
    header.set_size(u64::try_from(len)?);
    header.set_cksum();
    Ok(header)
}

/// A name as part of a path: what isn't a letter, a digit or one of `_.-` is
/// written by number, as in URLs.
fn quoted(name: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_.-~".contains(&c);
    let quote = |c: u8| match plain(c) {
        true => char::from(c).to_string(),
        false => format!("%{c:02X}"),
    };
    name.bytes().map(quote).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
