"""The tiny model as a runtime of MLServer."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class TinyRuntime(MLModel):
    """`y = x M + 1` with `M[i][j] = i + j`."""

    async def load(self) -> bool:
        """Makes the matrix."""
        self.matrix = np.add.outer(np.arange(4), np.arange(3)).astype(np.float32)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Computes one request."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("y", rows @ self.matrix + np.float32(1))
        return InferenceResponse(model_name=self.name, outputs=[output])
