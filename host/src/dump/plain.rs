//! A single file's bytes, with zeros for its holes.

use std::io::{self, Write};

use super::{Archive, Item, Taken};
use crate::restore::sparse::Layout;

/// Writes a content as the file has it: with its holes filled.
#[derive(Default)]
pub struct Filler {
    layout: Option<Layout>,
    /// Bytes of the content.
    offset: u64,
    /// Bytes of the file.
    position: u64,
}

impl Filler {
    /// For a file with this layout.
    pub fn new(layout: Option<Layout>) -> Self {
        Filler { layout, ..Filler::default() }
    }

    /// Writes the next bytes of the content, and the holes before them.
    pub fn data(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        let Some(layout) = &self.layout else { return out.write_all(bytes) };
        for (start, piece) in layout.pieces(self.offset, bytes) {
            zeros(start - self.position, out)?;
            out.write_all(piece)?;
            self.position = start + piece.len() as u64;
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Writes the hole at the end.
    pub fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        match self.layout.take() {
            Some(layout) => zeros(layout.size() - self.position, out),
            None => Ok(()),
        }
    }
}

fn zeros(mut count: u64, out: &mut impl Write) -> io::Result<()> {
    let zeros = [0; 64 << 10];
    while count > 0 {
        let piece = count.min(zeros.len() as u64);
        out.write_all(&zeros[..piece as usize])?;
        count -= piece;
    }
    Ok(())
}

/// See the head of this module.
pub struct Plain<W> {
    out: W,
    filler: Filler,
}

impl<W: Write> Plain<W> {
    /// Writes there.
    pub fn new(out: W) -> Self {
        Plain { out, filler: Filler::default() }
    }
}

impl<W: Write> Archive for Plain<W> {
    fn has_links(&self) -> bool {
        false
    }

    fn survives_damage(&self) -> bool {
        false
    }

    fn begin(&mut self, item: &Item) -> io::Result<Taken> {
        self.filler = Filler::new(item.layout.clone());
        Ok(Taken::Whole)
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.filler.data(bytes, &mut self.out)
    }

    fn end(&mut self) -> io::Result<()> {
        self.filler.end(&mut self.out)
    }

    fn finish(&mut self, _is_whole: bool) -> io::Result<()> {
        self.out.flush()
    }
}
