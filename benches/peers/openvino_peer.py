"""OpenVINO, as one of the programs that networks.py measures.

    python openvino_peer.py convert FOLDER unet|vae|clip INPUTS MODEL.xml
    python openvino_peer.py MODEL.xml unet|vae|clip f32|bf16 THREADS INPUTS OUTPUT

The first converts diffusers' network (torch and diffusers are needed then, and no more), with the
sizes of INPUTS fixed, which is what OpenVINO is fastest with. The second answers as served.py says.
"""

import sys

NAMES = {"unet": ("latent", "t", "context"), "vae": ("z",), "clip": ("ids",)}


def convert(folder, name, inputs, output):
    import openvino
    import torch
    from diffusers_peer import parts
    from safetensors.torch import load_file

    module, call = parts(folder, name, torch.float32)
    told = load_file(inputs)

    class Called(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = module.eval()

        def forward(self, *given):
            return call(self.module, dict(zip(NAMES[name], given)))

    example = tuple(told[key] for key in NAMES[name])
    with torch.no_grad():
        model = openvino.convert_model(
            Called(), example_input=example, input=[tuple(tensor.shape) for tensor in example]
        )
    openvino.save_model(model, output, compress_to_fp16=False)


def network(model, name, dtype, threads, inputs, output):
    """What `served.serve` wants, and the compiled model."""
    import numpy
    import openvino
    from safetensors.numpy import load_file, save_file

    told = load_file(inputs)
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": dtype}
    settings |= {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    given = [told[key] for key in NAMES[name]]

    def run():
        request.infer(given, share_inputs=True)
        return request.get_output_tensor(0).data

    def save(result):
        save_file({"out": numpy.ascontiguousarray(result, dtype="float32")}, output)

    return (run, save), compiled


def main(model, name, dtype, threads, inputs, output):
    import openvino
    from served import serve

    held = []

    def load():
        pair, compiled = network(model, name, dtype, int(threads), inputs, output)
        held.append(compiled)
        return pair

    def about():
        used = held[0].get_property("INFERENCE_PRECISION_HINT").to_string()
        return {"versions": {"openvino": openvino.__version__.split("-")[0]}, "computes_in": used}

    serve(load, about)


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
