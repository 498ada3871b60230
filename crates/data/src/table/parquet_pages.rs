//! The pages of a Parquet file, unpacked within limits.
//!
//! The library takes memory for a page, and for the values of a dictionary, as the page's own header asks for it, and nothing ties these
//! headers to the sizes in the footer, which are checked when the file is opened. So it is told that the pages are not packed, and takes no
//! more for them than the file has; what it hands out is unpacked here, and counted.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use parquet::basic::{Compression, CompressionCodec, Encoding};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::RowGroupReader;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;
use seedhouse_core::{Error, Result};

use crate::limits::Budget;

/// What the library takes for each value of a dictionary beside the bytes of its page, at most.
const DICTIONARY_VALUE_BYTES: u64 = size_of::<ByteArray>() as u64;

/// What the pages of a file may take.
pub(super) struct PageLimits {
    /// Bytes of all pages, unpacked.
    pub(super) pages: Arc<Budget>,
    /// Bytes of the values of the dictionaries that are there at a time: those of a group of rows.
    pub(super) dictionaries: Arc<Budget>,
}

/// A group of rows.
pub(super) struct RowGroup<'m> {
    pub(super) file_name: &'m str,
    pub(super) file: &'m Arc<File>,
    pub(super) metadata: &'m RowGroupMetaData,
    pub(super) limits: PageLimits,
}

impl RowGroupReader for RowGroup<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.metadata
    }

    fn num_columns(&self) -> usize {
        self.metadata.num_columns()
    }

    fn get_column_page_reader(&self, column: usize) -> Result<Box<dyn PageReader>, ParquetError> {
        let chunk = self.metadata.column(column);
        let as_plain = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        let rows = usize::try_from(self.metadata.num_rows())?;
        Ok(Box::new(Pages {
            column: format!("column `{}` of `{}`", chunk.column_path().string(), self.file_name),
            packed: SerializedPageReader::new(Arc::clone(self.file), &as_plain, rows, None)?,
            codec: chunk.compression_codec(),
            pages: Arc::clone(&self.limits.pages),
            dictionaries: Arc::clone(&self.limits.dictionaries),
        }))
    }

    fn get_column_bloom_filter(&self, _column: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>, ParquetError> {
        RowIter::from_row_group(projection, self)
    }
}

/// The pages of a column in a group of rows.
struct Pages {
    /// The column, for messages.
    column: String,
    packed: SerializedPageReader<File>,
    codec: CompressionCodec,
    pages: Arc<Budget>,
    dictionaries: Arc<Budget>,
}

impl Pages {
    fn unpack_page(&self, page: Page) -> Result<Page> {
        self.check_encoding(page.encoding())?;
        Ok(match page {
            Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics } => {
                let buf = self.unpack(&buf, 0)?.into();
                Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics }
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                statistics,
            } => {
                let levels = def_levels_byte_len as usize + rep_levels_byte_len as usize;
                let plain = if is_compressed { levels } else { buf.len() };
                Page::DataPageV2 {
                    buf: self.unpack(&buf, plain)?.into(),
                    num_values,
                    encoding,
                    num_nulls,
                    num_rows,
                    def_levels_byte_len,
                    rep_levels_byte_len,
                    is_compressed: false,
                    statistics,
                }
            }
            Page::DictionaryPage { buf, num_values, encoding, is_sorted } => {
                let what = format!("the dictionaries of a group of rows, with that of {},", self.column);
                self.dictionaries.take(what, u64::from(num_values) * DICTIONARY_VALUE_BYTES)?;
                let buf = self.unpack(&buf, 0)?.into();
                Page::DictionaryPage { buf, num_values, encoding, is_sorted }
            }
        })
    }

    /// Refuses encodings whose decoders take memory for as many values as the page's content asks for.
    fn check_encoding(&self, encoding: Encoding) -> Result<()> {
        match encoding {
            Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY => Err(Error::unsupported(
                format!("the encoding {encoding} of {}", self.column),
                "texts must be plain or have a dictionary",
            )),
            _ => Ok(()),
        }
    }

    /// Unpacks the bytes of a page, of which the first are plain.
    fn unpack(&self, bytes: &[u8], plain: usize) -> Result<Vec<u8>> {
        let Some((plain, packed)) = bytes.split_at_checked(plain) else {
            let reason = format!("a page says that its levels have {plain} bytes, but it has {}", bytes.len());
            return Err(Error::malformed(&self.column, reason));
        };
        self.count(plain.len() as u64)?;
        let mut unpacked = plain.to_vec();
        // A page of nothing but missing values has no packed bytes, not even those of an empty text.
        if !packed.is_empty() {
            unpacked.extend(self.unpack_values(packed)?);
        }
        Ok(unpacked)
    }

    fn unpack_values(&self, packed: &[u8]) -> Result<Vec<u8>> {
        match self.codec {
            CompressionCodec::UNCOMPRESSED => {
                self.count(packed.len() as u64)?;
                Ok(packed.to_vec())
            }
            CompressionCodec::SNAPPY => {
                let size = snap::raw::decompress_len(packed).map_err(|error| self.broken(&error))?;
                self.count(size as u64)?;
                snap::raw::Decoder::new().decompress_vec(packed).map_err(|error| self.broken(&error))
            }
            CompressionCodec::ZSTD => {
                let decoder = zstd::Decoder::with_buffer(packed).map_err(|error| self.broken(&error))?;
                let mut unpacked = Vec::new();
                // One byte more than is left shows that there are more.
                decoder.take(self.pages.left() + 1).read_to_end(&mut unpacked).map_err(|error| self.broken(&error))?;
                self.count(unpacked.len() as u64)?;
                Ok(unpacked)
            }
            other => Err(Error::unsupported(
                format!("the compression {other:?} of {}", self.column),
                "columns must be plain or packed with Snappy or Zstandard",
            )),
        }
    }

    fn count(&self, bytes: u64) -> Result<()> {
        self.pages.take(format!("all that was unpacked, with a page of {},", self.column), bytes)
    }

    fn broken(&self, error: &dyn std::error::Error) -> Error {
        Error::malformed(&self.column, format!("a page cannot be unpacked: {error}"))
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let page = self.packed.get_next_page()?;
        page.map(|page| self.unpack_page(page)).transpose().map_err(|error| ParquetError::External(Box::new(error)))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.packed.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.packed.skip_next_page()
    }
}

impl Iterator for Pages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
