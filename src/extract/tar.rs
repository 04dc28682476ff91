//! Tar archives: a row of members, each a header of 512 bytes and its data (POSIX.1-2017, pax, "ustar Interchange Format").
//!
//! A tar has no directory, so it is read once, from front to end, and holds no more than one member at a time; what is in
//! front of it may be a decoder. Long names come before the member that has them, in the ways of GNU tar (type `L`) and of
//! pax (type `x`). Links, devices and folders have no content and are no documents.

use std::io::{self, ErrorKind, Read};

const BLOCK: usize = 512;

/// A name, or the records of a pax header, is no longer than this.
const MAX_NAME_BYTES: u64 = 1 << 20;

/// A member that is a file. Its content is what comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub name: Vec<u8>,
    pub size: u64,
    /// Its content is stored without its holes (GNU sparse files) and is not what it was.
    pub is_sparse: bool,
}

/// An archive while it is read.
pub(super) struct Tar<R> {
    input: R,
    /// Bytes of the last member's content that were not read, and of the padding after them.
    unread: u64,
    padding: u64,
}

impl<R: Read> Tar<R> {
    pub fn new(input: R) -> Tar<R> {
        Tar { input, unread: 0, padding: 0 }
    }

    /// The next member; `None` after the last one. An archive may end without its two blocks of zeros.
    pub fn next(&mut self) -> io::Result<Option<Header>> {
        let (mut long_name, mut pax) = (None, Pax::default());
        loop {
            self.skip()?;
            let mut block = [0; BLOCK];
            match read_up_to(&mut self.input, &mut block)? {
                0 => return Ok(None),
                BLOCK if block.iter().all(|&byte| byte == 0) => return Ok(None),
                BLOCK => {}
                _ => return Err(ErrorKind::UnexpectedEof.into()),
            }
            if !is_header(&block) {
                return Err(ErrorKind::InvalidData.into());
            }
            let size = number(&block[124..136]).ok_or(ErrorKind::InvalidData)?;
            let is_about_next = matches!(block[156], b'x' | b'g' | b'L' | b'K');
            let size = if is_about_next { size } else { pax.size.unwrap_or(size) };
            self.unread = size;
            self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
            match block[156] {
                b'L' => long_name = Some(until_nul(&self.read_small(size)?).to_vec()),
                b'x' => pax = Pax::read(&self.read_small(size)?),
                // A file, one that is contiguous (as if any system had these), one with holes.
                kind @ (b'0' | b'\0' | b'7' | b'S') if !block_name(&block).ends_with(b"/") => {
                    let is_sparse = kind == b'S' || pax.is_sparse;
                    let name = pax.name.take().or(long_name.take()).unwrap_or_else(|| block_name(&block));
                    return Ok(Some(Header { name, size, is_sparse }));
                }
                // The next member has names of its own.
                b'g' | b'K' => {}
                _ => (long_name, pax) = (None, Pax::default()),
            }
        }
    }

    /// The content of the member that [`Tar::next`] gave, or its first `cap` bytes.
    pub fn content(&mut self, size: u64, cap: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let wanted = size.min(cap).min(self.unread);
        let read = (&mut self.input).take(wanted).read_to_end(&mut bytes)? as u64;
        self.unread -= read;
        if read < wanted { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }

    fn read_small(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_NAME_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
        self.content(size, size)
    }

    fn skip(&mut self) -> io::Result<()> {
        let mut pass = |bytes: u64| io::copy(&mut (&mut self.input).take(bytes), &mut io::sink());
        let is_short = pass(self.unread)? < self.unread;
        // The padding of the last member is often missing.
        pass(self.padding)?;
        (self.unread, self.padding) = (0, 0);
        if is_short { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// What the records of a pax header say about the next member: `length key=value\n`.
#[derive(Default)]
struct Pax {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl Pax {
    fn read(mut records: &[u8]) -> Pax {
        let mut pax = Pax::default();
        while let Some(space) = records.iter().position(|&byte| byte == b' ') {
            let length = std::str::from_utf8(&records[..space]).ok().and_then(|length| length.parse().ok());
            let Some(record) = length.and_then(|length: usize| records.get(space + 1..length)) else { break };
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            if let Some(name) = record.strip_prefix(b"path=") {
                pax.name = Some(name.to_vec());
            } else if record.starts_with(b"GNU.sparse.") {
                pax.is_sparse = true;
            } else if let Some(size) = record.strip_prefix(b"size=") {
                pax.size = std::str::from_utf8(size).ok().and_then(|size| size.parse().ok());
            }
            records = &records[space + 1 + record.len()..];
            records = records.strip_prefix(b"\n").unwrap_or(records);
        }
        pax
    }
}

/// Whether a tar starts here: its first block sums up to what it says. Tars from before POSIX have no other signature.
pub(super) fn is_header(bytes: &[u8]) -> bool {
    let Some(block) = bytes.get(..BLOCK) else { return false };
    let sum = |from: usize, to: usize| block[from..to].iter().map(|&byte| u64::from(byte)).sum::<u64>();
    // The field of the sum counts as spaces.
    let own = sum(0, 148) + 8 * u64::from(b' ') + sum(156, BLOCK);
    block[0] != 0 && number(&block[148..156]) == Some(own)
}

/// A number in octal digits, or in base 256 where the first bit says so (GNU).
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (head, tail) = field.split_at(field.len() - 8);
        if head.iter().skip(1).any(|&byte| byte != 0) {
            return None;
        }
        return tail.try_into().ok().map(u64::from_be_bytes);
    }
    let digits = until_nul(field).trim_ascii();
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

/// The name in the header itself, with the prefix that POSIX has for long ones.
fn block_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix = if &block[257..263] == b"ustar\0" { until_nul(&block[345..500]) } else { b"" };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len())]
}

/// Fills the buffer as far as the input goes.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A block of the header and the content, padded.
    pub fn member(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
        let mut block = [0; BLOCK];
        block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut out = block.to_vec();
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        out
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<(String, String)>> {
        let mut tar = Tar::new(bytes);
        let mut all = Vec::new();
        while let Some(Header { name, size, .. }) = tar.next()? {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            all.push((text(name), text(tar.content(size, 1 << 20)?)));
        }
        Ok(all)
    }

    #[test]
    fn files_are_members_and_folders_and_links_are_not() {
        let long = "folder/".repeat(30) + "a.txt";
        let path = format!("path={long}\n");
        let pax = format!("{} {path}", path.len() + 4);
        assert_eq!(pax.len(), path.len() + 4);
        let bytes = [
            member(b"docs/", b'5', b""),
            member(b"docs/a.txt", b'0', b"one"),
            member(b"link", b'2', b""),
            member(b"././@LongLink", b'L', format!("{long}\0").as_bytes()),
            member(b"cut", b'0', &[b'x'; 600]),
            member(b"pax", b'x', pax.as_bytes()),
            member(b"cut", b'0', b"three"),
            vec![0; 1024],
        ]
        .concat();
        let members = read(&bytes).expect("a sound archive");
        let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["docs/a.txt", long.as_str(), long.as_str()]);
        assert_eq!((members[0].1.as_str(), members[1].1.len(), members[2].1.as_str()), ("one", 600, "three"));
    }

    #[test]
    fn damage_is_an_error_and_a_missing_end_is_none() {
        let bytes = [member(b"a", b'0', b"one"), member(b"b", b'0', &[b'x'; 2000])].concat();
        assert!(is_header(&bytes) && !is_header(&bytes[1..]) && !is_header(b"short"));
        assert_eq!(read(&bytes).map(|all| all.len()).ok(), Some(2));
        assert_eq!(read(&bytes[..bytes.len() - 40]).map(|all| all.len()).ok(), Some(2), "padding");
        assert_eq!(read(&bytes[..1600]).map_err(|e| e.kind()).err(), Some(ErrorKind::UnexpectedEof));
        let mut damaged = bytes;
        damaged[1024 + 3] ^= 1;
        assert_eq!(read(&damaged).map_err(|e| e.kind()).err(), Some(ErrorKind::InvalidData));
    }

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b" 17 \0\0\0\0"), Some(0o17));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"9"), None);
        let mut field = [0; 12];
        (field[0], field[6]) = (0x80, 2);
        assert_eq!(number(&field), Some(2 << 40));
    }
}
