"""TensorRT-LLM (https://github.com/NVIDIA/TensorRT-LLM) behind the server's own protocol, in a process and an environment of its own.

Its PyTorch backend, ``tensorrt_llm.LLM``. Written against release 1.2.1, from its documentation and the sources that come
with it; ``interface`` lists what is used, and the process refuses to start where the installed version lacks any of it.

**Nothing here has run on a GPU yet.** What the tests drive is a fake with the same signatures. Only read, in sources whose release
isn't certain, were: what the default sampler makes of each parameter, how a grammar is compiled, what the figures of an
iteration are called, and what becomes of a request when the engine fails under it.

What 1.2.1 can't do is refused with the parameter's name: see ``launch.CAN_NOT``. Where a model's generation_config.json asks for one of
those (a repetition_penalty, say), it has no effect, and the process says so once on stderr. Log probabilities are TensorRT-LLM's
own, and choices with a temperature can't be repeated.

1.2.1 pins an older PyTorch and llguidance than the server does, so that pip can't install both together: make an
environment for it (NVIDIA's container, or ``pip install tensorrt-llm==1.2.1``), add ``pip install --no-deps pennyweight`` and
``msgspec`` there, and name its Python with --engine-python.
"""
