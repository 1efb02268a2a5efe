//! Encodes a request by reference: all attempts of a call share one message, which is wiped once.

use std::marker::PhantomData;
use std::sync::Arc;

use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::secret::{Secret, Wipe};

/// Largest answer that is read (16 MiB): a page of entries carries 1 MiB of canonical bytes and their decoded form.
pub(crate) const RESPONSE_BYTES_MAX: usize = 16 * 1_024 * 1_024;

pub(crate) struct SharedCodec<M, R>(PhantomData<fn(M) -> R>);

impl<M, R> SharedCodec<M, R> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<M, R> Codec for SharedCodec<M, R>
where
    M: Message + Wipe + 'static,
    R: Message + Default + 'static,
{
    type Encode = Arc<Secret<M>>;
    type Decode = R;
    type Encoder = SharedEncoder<M>;
    type Decoder = MessageDecoder<R>;

    fn encoder(&mut self) -> SharedEncoder<M> {
        SharedEncoder(PhantomData)
    }

    fn decoder(&mut self) -> MessageDecoder<R> {
        MessageDecoder(PhantomData)
    }
}

pub(crate) struct SharedEncoder<M>(PhantomData<fn(M)>);

impl<M: Message + Wipe> Encoder for SharedEncoder<M> {
    type Item = Arc<Secret<M>>;
    type Error = Status;

    fn encode(&mut self, request: Arc<Secret<M>>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        request.encode(buffer).map_err(|_| Status::internal("the request could not be encoded"))
    }
}

pub(crate) struct MessageDecoder<R>(PhantomData<fn() -> R>);

impl<R: Message + Default> Decoder for MessageDecoder<R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        // The cause is left out: decoder errors may quote the message.
        R::decode(buffer).map(Some).map_err(|_| Status::internal("the answer could not be decoded"))
    }
}
