//! Collecting a body of bounded size.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

/// Why a body was not collected; `E` is the error of the body.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectError<E> {
    /// It is larger than allowed.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It broke off.
    #[error(transparent)]
    Broken(#[from] E),
}

/// Reads `body` to its end, if it has no more than `max_bytes` bytes. Trailers are ignored.
///
/// `http_body_util::Limited` does the same with a boxed error, in which callers would have to look
/// for the error of the body.
pub async fn collect<B>(body: B, max_bytes: usize) -> Result<Bytes, CollectError<B::Error>>
where
    B: http_body::Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if data.len() > max_bytes - collected.len() {
            return Err(CollectError::TooLarge(max_bytes));
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::Frame;

    use super::*;
    use crate::full;

    /// A body that breaks off at once.
    struct BreaksOff;

    impl http_body::Body for BreaksOff {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            Poll::Ready(Some(Err("reset")))
        }
    }

    #[tokio::test]
    async fn a_body_is_collected_up_to_the_limit() {
        assert_eq!(collect(full("four"), 4).await.unwrap(), "four");
        let too_large = collect(full("five!"), 4).await;
        assert!(matches!(too_large, Err(CollectError::TooLarge(4))));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_keeps_its_error() {
        assert_eq!(
            collect(BreaksOff, 4).await,
            Err(CollectError::Broken("reset"))
        );
    }
}
