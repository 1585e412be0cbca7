//! Frames that are compressed with a dictionary of the server (RFC 8878 §5): v2's way. What a frame
//! unpacks to is bounded before it is unpacked.

use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use aip_base::{Http, HttpError, Limits};
use bytes::Bytes;
use http::{Request, StatusCode};
use ruzstd::decoding::{BlockDecodingStrategy, Dictionary as ZstdDictionary, FrameDecoder};

use crate::{EventServer, MAX_FRAME_BYTES};

/// A dictionary has some 100 KB.
const LIMITS: Limits = Limits {
    max_bytes: 1024 * 1024,
    deadline: Duration::from_secs(20),
};
/// How far back a compressed frame may refer, in bytes: encoders ask for more than a small frame needs.
const MAX_WINDOW_BYTES: u64 = 8 * 1024 * 1024;

/// What a server compresses its frames with.
#[derive(Clone)]
pub struct Dictionary {
    id: u32,
    bytes: Vec<u8>,
}

/// No dictionary could be had.
#[derive(Debug, thiserror::Error)]
pub enum DictionaryError {
    /// No answer.
    #[error("the dictionary of the event server cannot be read: {0}")]
    Http(#[from] HttpError),
    /// Another answer than a dictionary.
    #[error("the event server answered with status {0} instead of a dictionary")]
    Status(StatusCode),
    /// Not a dictionary.
    #[error("the event server answered with something that is no zstd dictionary: {0}")]
    Malformed(String),
}

impl Dictionary {
    /// Reads a structured dictionary.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, DictionaryError> {
        let read = ZstdDictionary::decode_dict(&bytes);
        let read = read.map_err(|error| DictionaryError::Malformed(error.to_string()))?;
        Ok(Self { id: read.id, bytes })
    }

    /// The one that `server` compresses with now; `None` if its protocol has no way to tell.
    pub(crate) async fn of(
        server: &EventServer,
        http: &dyn Http,
    ) -> Result<Option<Self>, DictionaryError> {
        let Some(url) = server.dictionary_url() else {
            return Ok(None);
        };
        let request = Request::get(url).body(Bytes::new());
        let request = request.map_err(|error| DictionaryError::Malformed(error.to_string()))?;
        let answer = http.fetch(request, LIMITS).await?;
        if answer.status != StatusCode::OK {
            return Err(DictionaryError::Status(answer.status));
        }
        Self::parse(answer.body.to_vec()).map(Some)
    }

    /// Its number, which every frame names that is compressed with it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What unpacks frames with it.
    pub(crate) fn decoder(&self) -> Result<Decoder, DictionaryError> {
        Ok(Decoder {
            dictionary: self.clone(),
            frames: self.frame_decoder()?,
        })
    }

    fn frame_decoder(&self) -> Result<FrameDecoder, DictionaryError> {
        let malformed = |error: String| DictionaryError::Malformed(error);
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW_BYTES);
        let dictionary = ZstdDictionary::decode_dict(&self.bytes);
        let dictionary = dictionary.map_err(|error| malformed(error.to_string()))?;
        let added = decoder.add_dict(dictionary);
        added.map_err(|error| malformed(error.to_string()))?;
        Ok(decoder)
    }
}

/// Unpacks frames.
pub(crate) struct Decoder {
    dictionary: Dictionary,
    frames: FrameDecoder,
}

/// A frame that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("{0}")]
    Malformed(String),
    #[error("it has more than {MAX_FRAME_BYTES} bytes")]
    TooLarge,
}

impl Decoder {
    /// The text of one frame, at most [`MAX_FRAME_BYTES`].
    pub(crate) fn unpack(&mut self, packed: &[u8]) -> Result<Vec<u8>, UnpackError> {
        // ruzstd 0.9.1 has assertions in its decoder. A frame that trips one is a malformed frame: the
        // task that follows the stream must not end at it, as it would meet it again at the same cursor.
        let unpacked = catch_unwind(AssertUnwindSafe(|| self.unpack_frame(packed)));
        unpacked.unwrap_or_else(|_| {
            let fresh = self.dictionary.frame_decoder();
            self.frames = fresh.map_err(|error| UnpackError::Malformed(error.to_string()))?;
            Err(UnpackError::Malformed("the decoder panicked".to_owned()))
        })
    }

    fn unpack_frame(&mut self, mut packed: &[u8]) -> Result<Vec<u8>, UnpackError> {
        let malformed = |error: &dyn std::fmt::Display| UnpackError::Malformed(error.to_string());
        self.frames
            .reset(&mut packed)
            .map_err(|it| malformed(&it))?;
        let mut text = Vec::new();
        while !self.frames.is_finished() {
            // Decodes one block, which has 128 KiB at most (RFC 8878 §3.1.1.2.4).
            let blocks = BlockDecodingStrategy::UptoBlocks(1);
            let decoded = self.frames.decode_blocks(&mut packed, blocks);
            decoded.map_err(|it| malformed(&it))?;
            self.collect(&mut text)?;
        }
        self.collect(&mut text)?;
        Ok(text)
    }

    fn collect(&mut self, text: &mut Vec<u8>) -> Result<(), UnpackError> {
        let left = MAX_FRAME_BYTES + 1 - text.len();
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        let read = (&mut self.frames).take(left).read_to_end(text);
        read.map_err(|error| UnpackError::Malformed(error.to_string()))?;
        if text.len() > MAX_FRAME_BYTES {
            return Err(UnpackError::TooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aip_sandbox::Jetstream;
    use proptest::prelude::*;

    use super::*;

    /// Made by another implementation, with the dictionary of the sandbox.
    const PACKED: &[u8] = include_bytes!("fixtures/frame.zst");
    const TEXT: &[u8] = include_bytes!("fixtures/frame.json");

    fn decoder() -> Decoder {
        let dictionary = Dictionary::parse(Jetstream::DICTIONARY.to_vec()).unwrap();
        assert_eq!(dictionary.id(), Jetstream::DICTIONARY_ID);
        dictionary.decoder().unwrap()
    }

    #[test]
    fn a_frame_is_unpacked_with_the_dictionary_it_was_made_with() {
        let mut decoder = decoder();
        for _ in 0..3 {
            assert_eq!(decoder.unpack(PACKED).unwrap(), TEXT);
        }
        let plain = Jetstream::packed(b"text", Jetstream::DICTIONARY_ID);
        assert_eq!(decoder.unpack(&plain).unwrap(), b"text");
    }

    #[test]
    fn what_cannot_be_unpacked_is_refused_and_the_next_frame_is_read() {
        let mut decoder = decoder();
        let mut bits = PACKED.to_vec();
        bits[40] ^= 0xff;
        for (what, packed) in [
            ("nothing", Vec::new()),
            ("text", b"{\"kind\":\"identity\"}".to_vec()),
            ("cut off", PACKED[..PACKED.len() - 5].to_vec()),
            ("another dictionary", Jetstream::packed(TEXT, 7)),
            (
                "a window of 2 GB",
                vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00],
            ),
            (
                "a skippable frame",
                vec![0x50, 0x2a, 0x4d, 0x18, 0x04, 0, 0, 0, 1, 2, 3, 4],
            ),
        ] {
            assert!(decoder.unpack(&packed).is_err(), "{what}");
            assert_eq!(decoder.unpack(PACKED).unwrap(), TEXT, "after {what}");
        }
        // Whatever becomes of it, it is bounded, and harms nothing that follows.
        drop(decoder.unpack(&bits));
        assert_eq!(decoder.unpack(PACKED).unwrap(), TEXT);
    }

    #[test]
    fn a_frame_that_unpacks_to_too_much_is_refused() {
        let mut decoder = decoder();
        // 1000 blocks that repeat one byte 128 KiB times each (RLE, RFC 8878 §3.1.1.2.2).
        let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
        for block in 0..1000_u32 {
            let header = (128 * 1024) << 3 | 1 << 1 | u32::from(block == 999);
            bomb.extend(&header.to_le_bytes()[..3]);
            bomb.push(b' ');
        }
        assert!(matches!(decoder.unpack(&bomb), Err(UnpackError::TooLarge)));
        let largest = Jetstream::packed(&vec![b' '; MAX_FRAME_BYTES], Jetstream::DICTIONARY_ID);
        assert_eq!(decoder.unpack(&largest).unwrap().len(), MAX_FRAME_BYTES);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_unpacked_or_refused(
            changes in prop::collection::vec((0..PACKED.len(), any::<u8>()), 1..8),
            noise in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut decoder = decoder();
            let mut changed = PACKED.to_vec();
            for (at, byte) in changes {
                changed[at] = byte;
            }
            let begun = [&PACKED[..10], &noise].concat();
            for packed in [changed, begun, noise] {
                let length = decoder.unpack(&packed).map_or(0, |text| text.len());
                prop_assert!(length <= MAX_FRAME_BYTES);
            }
            prop_assert_eq!(decoder.unpack(PACKED).unwrap(), TEXT);
        }

        #[test]
        fn whatever_is_said_to_be_a_dictionary_is_read_or_refused(
            changes in prop::collection::vec((8..1500_usize, any::<u8>()), 1..8),
            length in 0..1500_usize,
        ) {
            let mut changed = Jetstream::DICTIONARY.to_vec();
            for (at, byte) in changes {
                changed[at] = byte;
            }
            drop(Dictionary::parse(changed[..length].to_vec()));
            drop(Dictionary::parse(changed));
        }
    }

    #[test]
    fn what_is_no_dictionary_is_refused() {
        for bytes in [&b""[..], b"no dictionary", &Jetstream::DICTIONARY[..30]] {
            assert!(Dictionary::parse(bytes.to_vec()).is_err());
        }
    }
}
