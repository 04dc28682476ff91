//! Texts that are too large to hold: recognised by their beginning, unpacked and decoded block by block.
//!
//! Only what can be read from front to back without knowing its end comes this way: prose, Markdown, logs, tables, JSON
//! lines, code, subtitles, XML, each possibly under gzip or zstd. The same bytes give the same blocks however they
//! arrive, so a text can be read twice: once to plan it, once to send it.

use std::io::{self, BufReader, Read};

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::charset::{self, Wide};
use super::compressed::{self, ALWAYS_ALLOWED_BYTES, MAX_WINDOW_BYTES, Packing};
use super::{ExtractError, Options, foreign, read_as_bytes, read_text, sniff};
use crate::domain::{Format, Layout, Text};

/// Enough to recognise what a text is; callers hand over as much of its beginning.
pub const HEAD_BYTES: u64 = 1 << 20;

/// Bytes decoded at once. Where a block ends decides nothing about its text, only what a character set is guessed from.
const BLOCK_BYTES: usize = 1 << 20;

/// What the beginning of an object says about the rest.
#[derive(Clone, Debug)]
pub struct Outlook {
    pub format: Format,
    pub layout: Layout,
    pub warnings: Vec<String>,
    packing: Option<Packing>,
    charset: Option<&'static Encoding>,
    mark_bytes: usize,
}

/// What was found out on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    pub charset: &'static str,
    /// As in [`Text::source_offset`].
    pub source_offset: Option<u64>,
    pub warnings: Vec<String>,
}

/// Whether an object with this beginning can be read as a stream, and as what. `None`: it must be read whole.
pub fn outlook(head: &[u8], name: &str, options: &Options) -> Option<Outlook> {
    let packing = compressed::packing(head);
    let (unpacked, name) = match packing {
        None => (head.to_vec(), name),
        Some(packing) => {
            let mut unpacked = Vec::new();
            // The head is cut off somewhere: what comes before that is what there is to see.
            let _ = unpacker(packing, head).ok()?.take(HEAD_BYTES).read_to_end(&mut unpacked);
            (unpacked, compressed::strip_extension(name))
        }
    };
    if compressed::packing(&unpacked).is_some() || foreign::sniff_magic(&unpacked).is_some() {
        return None;
    }
    let format = options.declared.or_else(|| foreign::sniff_plain(&unpacked, name));
    if format.is_some_and(|format| format == Format::Rtf || read_as_bytes(format)) {
        return None;
    }
    let (charset, mark_bytes) = match charset::wide(&unpacked) {
        Some((Wide::Utf16Le, mark)) => (Some(UTF_16LE), mark),
        Some((Wide::Utf16Be, mark)) => (Some(UTF_16BE), mark),
        Some(_) => return None,
        None if unpacked.starts_with(b"\xef\xbb\xbf") => (Some(UTF_8), 3),
        None => (None, 0),
    };
    // Up to a line's end: half a character or half a record would be taken for damage.
    let lines = unpacked.iter().rposition(|byte| *byte == b'\n').map_or(unpacked.len(), |at| at + 1);
    let lines = if charset == Some(UTF_16LE) { (lines + 1).min(unpacked.len()) } else { lines };
    let decoded = charset::decode(unpacked[..lines].to_vec()).ok()?;
    if decoded.body.contains('\n') != unpacked.contains(&b'\n') {
        // Bare carriage returns end its lines, which only shows at its end.
        return None;
    }
    let format = format.unwrap_or_else(|| sniff::format(&decoded.body, name));
    let picks_fields = format == Format::JsonLines && !options.json_fields.is_empty();
    if matches!(format, Format::Html | Format::Json) || picks_fields {
        return None;
    }
    let body_bytes = decoded.body.len();
    let text = Text {
        body: decoded.body,
        format,
        layout: Layout::Prose,
        charset: decoded.charset,
        source_offset: None,
        places: Vec::new(),
        gaps: Vec::new(),
        warnings: Vec::new(),
    };
    let text = read_text(text, &options.limits).ok()?;
    // A line that says how to read the others is taken off there, and would not be here.
    (text.body.len() == body_bytes).then_some(Outlook {
        format: text.format,
        layout: text.layout,
        warnings: text.warnings,
        packing,
        charset,
        mark_bytes,
    })
}

fn unpacker<'r, R: Read + 'r>(packing: Packing, packed: R) -> io::Result<Box<dyn Read + 'r>> {
    Ok(match packing {
        Packing::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(packed))),
        Packing::Zstd => {
            let decoder = StreamingDecoder::new_with_max_window_size(packed, MAX_WINDOW_BYTES);
            Box::new(decoder.map_err(io::Error::other)?)
        }
    })
}

/// Counts what is read through it.
struct Counted<R> {
    inner: R,
    bytes: std::rc::Rc<std::cell::Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}

/// Why a stream of text ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The bytes could not be had.
    #[error("its bytes can not be read")]
    Read(#[source] io::Error),
}

/// The text of an object, block by block.
pub struct Blocks<'r> {
    bytes: Box<dyn Read + 'r>,
    packed_bytes: std::rc::Rc<std::cell::Cell<u64>>,
    unpacked_bytes: u64,
    is_packed: bool,
    max_expansion: u64,
    to_skip: usize,
    decoder: Option<Decoder>,
    charset: Option<&'static Encoding>,
    warnings: Vec<String>,
    offset: u64,
    replaced: u64,
    text_bytes: u64,
    nul: u64,
    nul_run: u64,
    has_text: bool,
    is_over: bool,
}

impl<'r> Blocks<'r> {
    /// Reads `bytes`, which begin with what `outlook` was made of.
    pub fn new<R: Read + 'r>(outlook: &Outlook, bytes: R, options: &Options) -> Result<Self, StreamError> {
        let packed_bytes = std::rc::Rc::default();
        let counted = Counted { inner: bytes, bytes: std::rc::Rc::clone(&packed_bytes) };
        let bytes: Box<dyn Read + 'r> = match outlook.packing {
            None => Box::new(counted),
            Some(packing) => unpacker(packing, counted).map_err(StreamError::Read)?,
        };
        Ok(Blocks {
            bytes,
            packed_bytes,
            unpacked_bytes: 0,
            is_packed: outlook.packing.is_some(),
            max_expansion: options.limits.max_expansion,
            to_skip: outlook.mark_bytes,
            decoder: outlook.charset.map(Encoding::new_decoder_without_bom_handling),
            charset: outlook.charset,
            warnings: outlook.warnings.clone(),
            offset: outlook.mark_bytes as u64,
            replaced: 0,
            text_bytes: 0,
            nul: 0,
            nul_run: 0,
            has_text: false,
            is_over: false,
        })
    }

    /// The next block of the text, not empty; `None` after the last.
    pub fn next_block(&mut self) -> Result<Option<String>, StreamError> {
        while !self.is_over {
            let mut block = Vec::with_capacity(BLOCK_BYTES);
            let read = (&mut self.bytes).take(BLOCK_BYTES as u64).read_to_end(&mut block);
            self.unpacked_bytes += block.len() as u64;
            read.map_err(|error| self.cause(error))?;
            let by_ratio =
                self.packed_bytes.get().saturating_mul(self.max_expansion).max(ALWAYS_ALLOWED_BYTES);
            if self.is_packed && self.unpacked_bytes > by_ratio {
                return Err(ExtractError::Expansion { max_expansion: self.max_expansion }.into());
            }
            self.is_over = block.len() < BLOCK_BYTES;
            let skipped = std::mem::take(&mut self.to_skip).min(block.len());
            let text = self.decode(&block[skipped..])?;
            if !text.is_empty() {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<String, StreamError> {
        if self.decoder.is_none() && !bytes.is_ascii() {
            // Only now there is something to tell a character set from.
            let encoding = match charset::narrow(bytes) {
                None => UTF_8,
                Some(encoding) => {
                    let name = encoding.name();
                    self.warnings.push(format!("the character set {name} was guessed from the bytes"));
                    encoding
                }
            };
            self.charset = Some(encoding);
            self.decoder = Some(encoding.new_decoder_without_bom_handling());
        }
        let text = match &mut self.decoder {
            None => String::from_utf8_lossy(bytes).into_owned(),
            Some(decoder) => {
                let room = decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len() * 3 + 16);
                let mut text = String::with_capacity(room);
                let (result, _, had_errors) = decoder.decode_to_string(bytes, &mut text, self.is_over);
                debug_assert!(result == CoderResult::InputEmpty, "there is room for all of it");
                if had_errors {
                    self.replaced +=
                        text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count() as u64;
                }
                text
            }
        };
        self.text_bytes += text.len() as u64;
        if self.replaced * 10 > self.text_bytes {
            return Err(ExtractError::Binary.into());
        }
        if text.contains('\0') || self.nul_run > 0 {
            return Ok(self.without_nul(&text));
        }
        self.has_text |= !text.is_empty();
        Ok(text)
    }

    /// As in a text that is read whole: a lone NUL goes, a run of them is a blank.
    fn without_nul(&mut self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        for c in text.chars() {
            if c == '\0' {
                self.nul += 1;
                self.nul_run += 1;
                continue;
            }
            if self.nul_run > 1 && self.has_text {
                clean.push(' ');
            }
            (self.nul_run, self.has_text) = (0, true);
            clean.push(c);
        }
        clean
    }

    fn cause(&self, error: io::Error) -> StreamError {
        let unpacked_bytes = self.unpacked_bytes;
        // What our own source says has a cause of its own; what a decoder says has none.
        if !self.is_packed || error.get_ref().is_some_and(|inner| inner.is::<Interrupted>()) {
            return StreamError::Read(error);
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return ExtractError::CompressedTruncated { unpacked_bytes }.into();
        }
        ExtractError::CompressedDamaged { unpacked_bytes }.into()
    }

    /// What there is to say about the text that was read.
    pub fn findings(&self) -> Findings {
        let mut warnings = self.warnings.clone();
        if self.replaced > 0 {
            warnings.push(format!("{} invalid byte sequences were replaced by U+FFFD", self.replaced));
        }
        if self.nul > 0 {
            warnings.push(format!("{} NUL bytes were removed", self.nul));
        }
        let charset = self.charset.unwrap_or(UTF_8);
        let is_same = !self.is_packed && charset == UTF_8 && self.replaced == 0 && self.nul == 0;
        Findings { charset: charset.name(), source_offset: is_same.then_some(self.offset), warnings }
    }
}

/// Marks an error of whoever hands over the bytes, so that it is not taken for damage in them.
#[derive(Debug, thiserror::Error)]
#[error("the bytes stopped coming")]
pub struct Interrupted;
