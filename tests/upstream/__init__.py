"""The fake upstream: a model server that is real in everything but the model.

A server process of its own (`python -m tests.upstream --port 0`), fast enough to stand behind a benchmark. The model's
name says what it does (`behaviour`), every request is accounted for (`state`), and what a gateway must never send is a
violation that fails the test (`checks`).

    wire       bytes <-> requests on one connection          dialect    what a wire format must be able to do
    server     listens and shares requests out               openai*    the OpenAI dialect, vLLM's and OpenAI's flavour
    serve      request -> answer, faults included            engine     which tokens the answer has
    render     events -> bytes                               words      what a token is
    play       bytes -> time                                 pages, control   everything that is not a model
"""
