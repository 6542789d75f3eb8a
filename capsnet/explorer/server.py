"""The explorer's server: the page, and the questions that the page asks about a picture.

It keeps nothing between two questions: the page sends the picture along, so that several people, or windows, cannot get
in each other's way. It answers this machine alone, and reads no file that a browser names.
"""

import base64
import json
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
import torch
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from torch import Tensor

from ..data.batches import to_float
from ..data.pictures import BrokenPictureError
from ..data.source import LabelledImages
from .drawings import USUAL_EXTENT, prepared_drawing, prepared_upload
from .looking import Change, abilities, between, changed, draw, is_even, look, walk
from .samples import Exhibit, chosen_samples
from .votes import VoteMaps, vote_maps

log = logging.getLogger(__name__)

MOST_BYTES = 20 * 2**20  # of a question, which may hold a picture
MOST_COUPLINGS = 64  # primary capsules that are shown one by one
HOSTS = ("127.0.0.1", "localhost")
FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""The first one keeps the browser from asking any other machine, whatever the page says."""

Question = dict[str, Any]


class QuestionError(Exception):
    """A question cannot be answered; the message says why, for the person at the page."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def application(exhibit: Exhibit) -> Starlette:
    """The web application that shows an exhibit."""
    answers = _Answers(exhibit)
    routes = [Route(path, _file(*file)) for path, file in FILES.items()]
    routes.append(Route("/about", _answering(answers.about, None)))
    for path, (answer, read) in {
        "/samples": (answers.samples, _json),
        "/arrange": (answers.arrange, _json),
        "/upload": (answers.upload, _bytes),
        "/drawing": (partial(answers.drawing, fit=False), _bytes),
        "/fitted-drawing": (partial(answers.drawing, fit=True), _bytes),
        "/look": (answers.look, _json),
        "/draw": (answers.draw, _json),
        "/walk": (answers.walk, _json),
        "/between": (answers.between, _json),
        "/votes": (answers.votes, _json),
    }.items():
        routes.append(Route(path, _answering(answer, read), methods=["POST"]))
    middleware = [
        Middleware(BaseHTTPMiddleware, dispatch=_guard),
        Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS)),
    ]
    return Starlette(routes=routes, middleware=middleware)


class _Answers:
    """What is answered to the page's questions, each a method from a question to what becomes JSON."""

    def __init__(self, exhibit: Exhibit):
        self.exhibit, self.model = exhibit, exhibit.model
        self.abilities = abilities(exhibit.model)

    def about(self, _: None) -> Any:
        names = self.model.class_names
        samples = self.exhibit.test_images
        return {
            "title": self.exhibit.title,
            "classes": [
                {"name": name, "character": character}
                for name, character in zip(names, self.exhibit.class_characters or [None] * len(names), strict=True)
            ],
            "shape": self.model.image_shape,
            "singles": self.model.task.singles,
            "singleShape": self.model.single_shape,
            "dimensions": self.abilities.dimensions,
            "decoder": self.abilities.decoder,
            "routing": self.abilities.routing,
            "samples": 0 if samples is None else len(samples.labels),
            "whyNoSamples": self.exhibit.why_none,
            "lightPaper": self.model.border_brightness[0] > 0.5,
            "mostBytes": MOST_BYTES,
        }

    def _test_images(self) -> LabelledImages:
        if self.exhibit.test_images is None:
            raise QuestionError(f"There are no test images: {self.exhibit.why_none}", 404)
        return self.exhibit.test_images

    def samples(self, question: Question) -> Any:
        images = self._test_images()
        return [
            {"number": number, "label": int(images.labels[number]), "pixels": _encoded(images.images[number])}
            for number in chosen_samples(images, question.get("label"), question["page"])
        ]

    def arrange(self, question: Question) -> Any:
        """The picture that the task makes of some test images, each moved by whole pixels."""
        placed = question["placed"]
        images = self._test_images().images[[one["number"] for one in placed]]
        shifts = torch.tensor([[one["down"], one["right"]] for one in placed])
        arranged = self.model.task.arrange(to_float(images), shifts)
        return {"pixels": _encoded(arranged)}

    def upload(self, content: bytes) -> Any:
        return self._prepared(lambda: prepared_upload(self.model, content), "This file")

    def drawing(self, content: bytes, fit: bool) -> Any:
        extent = (self.exhibit.extent or USUAL_EXTENT) if fit else None
        return self._prepared(lambda: prepared_drawing(self.model, content, extent), "This drawing")

    def _prepared(self, prepare: Callable[[], np.ndarray], what: str) -> Any:
        try:
            pixels = prepare()
        except BrokenPictureError as error:
            raise QuestionError(f"{what} {error}.", 415) from error
        note = None
        if is_even(pixels):
            note = "This picture has one color all over: there is nothing in it to recognize."
        elif self.model.looks_inverted(pixels):
            note = "Light and dark are the other way round than in the training images. Try “Swap light and dark”."
        return {"pixels": _encoded(torch.tensor(pixels)), "note": note, "even": is_even(pixels)}

    def look(self, question: Question) -> Any:
        said = look(self.model, self._pixels(question), _change(question))
        return {
            "seen": _encoded(said.seen),
            "scores": _finite(said.scores),
            "answers": said.answers,
            "capsules": None if said.capsules is None else _finite(said.capsules),
            "drawn": said.drawn,
            "drawings": [] if said.drawings is None else [_encoded(drawing) for drawing in said.drawings],
        }

    def draw(self, question: Question) -> Any:
        capsule = self._capsule(question["capsule"])
        return {"drawing": _encoded(draw(self.model, capsule[None], question["label"])[0])}

    def walk(self, question: Question) -> Any:
        capsule = self._capsule(question["capsule"])
        label, dimension, limit = (question[key] for key in ("label", "dimension", "limit"))
        values, drawings = walk(self.model, capsule, label, dimension, limit)
        return {"values": values, "drawings": [_encoded(drawing) for drawing in drawings]}

    def between(self, question: Question) -> Any:
        first, second = self._capsule(question["first"]), self._capsule(question["second"])
        return {"drawings": [_encoded(drawing) for drawing in between(self.model, first, second, question["label"])]}

    def votes(self, question: Question) -> Any:
        image = changed(self._pixels(question), _change(question))
        maps = vote_maps(self.model, image, question["label"])
        if maps is None:
            needed = "an attribute `routing` with a method `steps`, or routings of matrices that give `coupling`"
            raise QuestionError(f"This network has no routing whose votes could be shown: {needed}.", 404)
        return {"seen": _encoded(image), **_votes_record(maps)}

    def _capsule(self, numbers: list[float]) -> Tensor:
        if not self.abilities.decoder:
            raise QuestionError("This network has no decoder that could draw a capsule.", 404)
        return torch.tensor(numbers, dtype=torch.float32)

    def _pixels(self, question: Question) -> np.ndarray:
        """The picture in a question, [channels, height, width] uint8."""
        content = base64.b64decode(question["pixels"])
        return np.frombuffer(content, np.uint8).reshape(self.model.image_shape).copy()


def _votes_record(maps: VoteMaps) -> dict[str, Any]:
    """The same for JSON."""
    few = len(maps.steps[0].couplings) <= MOST_COUPLINGS
    return {
        "grid": maps.grid,
        "window": maps.window,
        "seesEverything": maps.sees_everything,
        "lengths": [step.length for step in maps.steps],
        "couplings": [_finite(step.couplings) for step in maps.steps] if few else [],
        "shares": _encoded_maps([step.share_map for step in maps.steps if step.share_map is not None]),
        "pushes": _encoded_maps([step.push_map for step in maps.steps if step.push_map is not None]),
    }


def _encoded_maps(maps: list[Tensor]) -> dict[str, Any] | None:
    """Maps [height, width] as bytes, which go evenly from the lowest value of all to the highest."""
    if not maps:
        return None
    together = torch.nan_to_num(torch.stack(maps))
    low, high = float(together.min()), float(together.max())
    return {"low": low, "high": high, "maps": [_encoded((one - low) / max(high - low, 1e-12)) for one in together]}


def _encoded(image: Tensor) -> str:
    """An image of bytes, or in [0, 1], as the page takes it: its bytes in base64, channel by channel."""
    if image.dtype != torch.uint8:
        image = (image * 255).round().clamp(0, 255).to(torch.uint8)
    return base64.b64encode(image.contiguous().numpy().tobytes()).decode()


def _finite(values: Tensor) -> Any:
    """Numbers for JSON, which has neither NaN nor infinity."""
    return torch.nan_to_num(values, nan=0.0, posinf=1.0, neginf=-1.0).tolist()


def _change(question: Question) -> Change:
    return Change(**question.get("change", {}))


async def _bytes(request: Request) -> bytes:
    """The body of a request, as long as it is not too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise QuestionError(f"This is too large; {MOST_BYTES // 2**20} MiB are the most.", 413)
    return bytes(body)


async def _json(request: Request) -> Question:
    return json.loads(await _bytes(request))


def _answering(
    answer: Callable[[Any], Any], read: Callable[[Request], Awaitable[Any]] | None
) -> Callable[[Request], Awaitable[Response]]:
    """A route's function: it answers in another thread, and says in JSON, too, why it cannot.

    What the page does not ask, such as for a class that there is not, is an error like any other.
    """

    async def respond(request: Request) -> Response:
        try:
            question = await read(request) if read else None
            return JSONResponse(await run_in_threadpool(answer, question))
        except QuestionError as error:
            return JSONResponse({"message": str(error)}, error.status)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            log.exception("%s failed", request.url.path)
            return JSONResponse({"message": "Something went wrong; the terminal says what."}, 500)

    return respond


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files(__package__).joinpath("page", name).read_bytes()

    async def respond(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return respond


async def _guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse questions that another site's page asks through the person's browser, and add `HEADERS`."""
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{request.headers.get('host')}":
        response: Response = JSONResponse({"message": "Only the explorer's own page may ask."}, 403)
    else:
        response = await answer(request)
    response.headers.update(HEADERS)
    return response
