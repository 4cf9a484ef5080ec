"""CLIP: a small random one, saved by transformers, against transformers itself."""

import json
import random
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, Share
from featured import Frames, write_features

from framewatch import DeepImageFeaturizer
from framewatch.cli.main import main
from framewatch.errors import ConfigError, WeightsError
from framewatch.io.images import resize
from framewatch.models import conversion, engines
from framewatch.models.text_encoder import load_text_encoder

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'framewatch[clip]'")
transformers = pytest.importorskip("transformers", reason="transformers is missing: 'framewatch[clip]'")

SIZE, LENGTH, CONTEXT = 64, 24, 20
WORDS = [
    "a person lying on the floor",
    "감시 카메라 영상",
    "🚨 fight!! 🥊",
    "naïve café",
    "left BAG",
    "0:42",
    "\t\n x",
]


def save_small_clip(directory: Path) -> None:
    """A CLIP of two layers with weights from a fixed seed, and a tokenizer trained on a few lines."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    start, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE(unk_token=end, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    words = pre_tokenizers.Split(pattern=" ", behavior="removed")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=[start, end], end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator([*WORDS, (ROOT / "README.md").read_text()], trainer)
    first, last = tokenizer.token_to_id(start), tokenizer.token_to_id(end)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $0 {end}", special_tokens=[(start, first), (end, last)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=start, eos_token=end, pad_token=end, unk_token=end,
        model_max_length=CONTEXT,
    )  # fmt: skip
    fast.save_pretrained(directory)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": first, "eos_token_id": last, "pad_token_id": last}
    config = transformers.CLIPConfig(
        text_config={**layers, **ends, "vocab_size": len(fast), "max_position_embeddings": CONTEXT},
        vision_config={**layers, "image_size": SIZE, "patch_size": 16},
        projection_dim=LENGTH,
    )
    torch.manual_seed(7)
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():  # as small as they begin, all features would be alike
        for weights in model.parameters():
            weights.mul_(4 if weights.ndim > 1 else 1)
    model.save_pretrained(directory)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
    ).save_pretrained(directory)


@pytest.fixture(scope="module")
def checkpoint(share: Share) -> Path:
    return share("clip", save_small_clip)


@pytest.fixture(scope="module")
def featurizer(checkpoint: Path) -> DeepImageFeaturizer:
    return DeepImageFeaturizer(
        inputCol="content", outputCol="features", modelName="CLIP-ViT-B-32", weights=str(checkpoint),
        precision="float32",
    )  # fmt: skip


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    sizes = [(64, 64), (240, 320), (288, 384), (321, 200), (100, 65), (40, 50)]
    coarse = rng.integers(0, 255, (len(sizes), 6, 8, 3), np.uint8)
    smooth = [cv2.resize(it, size[::-1]) for it, size in zip(coarse, sizes, strict=True)]
    return [np.clip(it + rng.normal(0, 12, it.shape), 0, 255).astype(np.uint8) for it in smooth]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def wanted_pixels(checkpoint: Path, image: np.ndarray) -> np.ndarray:
    from PIL import Image

    processor = transformers.CLIPImageProcessor.from_pretrained(checkpoint)
    return np.asarray(processor(Image.fromarray(image[..., ::-1]), return_tensors="np")["pixel_values"][0])


def test_pictures_are_prepared_as_its_image_processor_does(checkpoint: Path) -> None:
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    for image in pictures():
        ours = (resize(image, SIZE, method="crop")[..., ::-1] / 255 - mean) / std
        apart = np.abs(ours.transpose(2, 0, 1) - wanted_pixels(checkpoint, image)) * std[:, None, None] * 255
        assert apart.max() <= 1.01  # of 255 levels: they may round another way


def test_images_have_the_features_of_transformers(spark, checkpoint: Path, featurizer) -> None:
    model = transformers.CLIPModel.from_pretrained(checkpoint).eval()
    images = pictures()
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack([wanted_pixels(checkpoint, image) for image in images]))
        wanted = model.visual_projection(model.vision_model(pixels).pooler_output).numpy()
    rows = [(n, bytearray(cv2.imencode(".png", image)[1].tobytes())) for n, image in enumerate(images)]
    df = featurizer.transform(spark.createDataFrame(rows, "id int, content binary").coalesce(1))
    got = np.stack([row["features"].toArray() for row in df.orderBy("id").collect()])
    assert cosines(got, wanted).min() >= 0.9999
    assert cosines(wanted[:1], wanted[1:2])[0] < 0.999  # else the check above could not fail
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
    told = df.schema["features"].metadata["framewatch"]
    assert (told["model"], told["resize"], told["engine"]) == ("CLIP-ViT-B-32", "crop", "openvino")


def strings() -> list[str]:
    rng = random.Random(5)
    alphabets = ["abcdefg hij", "감시영상 의심", "🚨🥊👜 x", "ABC éü ß", "0123:. !?'"]
    made = ["".join(rng.choices(rng.choice(alphabets), k=rng.randrange(0, 90))) for _ in range(993)]
    return [*WORDS, *made]


def test_texts_have_the_tokens_and_features_of_transformers(checkpoint: Path, featurizer) -> None:
    featurizer.feature_spec()  # converts
    encoder = load_text_encoder(str(conversion.text_path(featurizer.network())))
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    texts = strings()
    assert len(texts) == 1000 and max(map(len, texts)) > 3 * CONTEXT
    wanted = tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True)["input_ids"]
    assert encoder.tokens(texts).tolist() == wanted
    model = transformers.CLIPModel.from_pretrained(checkpoint).eval()
    shown = texts[:60]
    its = tokenizer(shown, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
    with torch.no_grad():
        features = model.text_projection(model.text_model(**its).pooler_output).numpy()
    got = encoder.encode(shown)
    assert cosines(got, features).min() >= 0.9999
    assert cosines(features[:1], features[1:2])[0] < 0.999
    assert encoder.settings.logit_scale == pytest.approx(model.logit_scale.exp().item())


def export_onnx(checkpoint: Path, directory: Path) -> None:
    """Both encoders as ONNX files, with the names that exporters give inputs and outputs."""
    model = transformers.CLIPModel.from_pretrained(checkpoint, attn_implementation="eager").eval()
    model.requires_grad_(False)

    class Images(torch.nn.Module):
        def forward(self, pixel_values):
            found = model.vision_model(pixel_values)
            return model.visual_projection(found.pooler_output), found.last_hidden_state

    class Texts(torch.nn.Module):
        def forward(self, input_ids):
            found = model.text_model(input_ids)
            return found.last_hidden_state, model.text_projection(found.pooler_output)

    tokens = torch.ones((2, CONTEXT), dtype=torch.int64)
    exports = (
        ("vision_model.onnx", Images(), torch.zeros((2, 3, SIZE, SIZE)), "pixel_values",
         ["image_embeds", "last_hidden_state"], {0: "batch"}),
        ("text_model.onnx", Texts(), tokens, "input_ids", ["last_hidden_state", "text_embeds"],
         {0: "batch", 1: "length"}),
    )  # fmt: skip
    directory.mkdir()
    for file, module, example, given, outputs, axes in exports:
        torch.onnx.export(
            module, (example,), str(directory / file), input_names=[given], output_names=outputs,
            dynamic_axes={given: axes}, dynamo=False,
        )  # fmt: skip
    for file in ("tokenizer.json", "config.json", "preprocessor_config.json"):
        shutil.copy(checkpoint / file, directory)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_onnx_files_give_the_same_features_without_torch(
    checkpoint: Path, featurizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx", reason="torch exports with the package onnx, which is not installed")
    export_onnx(checkpoint, tmp_path / "onnx")
    images, texts = np.stack([resize(image, SIZE, method="crop") for image in pictures()]), strings()[:100]
    wanted = engines.make_predict_fn(featurizer.feature_spec()).run(images)
    texts_encoder = load_text_encoder(str(conversion.text_path(featurizer.network())))
    for name in ("torch", "transformers"):  # hidden from the process that converts
        (tmp_path / "hidden").mkdir(exist_ok=True)
        (tmp_path / "hidden" / f"{name}.py").write_text(f"raise ImportError('hidden', name='{name}')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    monkeypatch.setenv("FRAMEWATCH_HOME", str(tmp_path / "home"))
    exported = featurizer.copy().setWeights(str(tmp_path / "onnx"))
    ours = engines.make_predict_fn(exported.feature_spec()).run(images)
    assert cosines(ours, wanted).min() >= 0.9999
    encoder = load_text_encoder(str(conversion.text_path(exported.network())))
    np.testing.assert_array_equal(encoder.tokens(texts), texts_encoder.tokens(texts))
    assert cosines(encoder.encode(texts), texts_encoder.encode(texts)).min() >= 0.9999
    (tmp_path / "incomplete").mkdir()
    shutil.copy(tmp_path / "onnx" / "vision_model.onnx", tmp_path / "incomplete")
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(WeightsError, match=r"text_model.onnx does not exist: export the text encoder too"):
        exported.copy().setWeights(str(tmp_path / "incomplete")).feature_spec()


def test_a_text_is_looked_for(spark, checkpoint: Path, featurizer, tmp_path: Path, capsys) -> None:
    spec = featurizer.feature_spec()
    videos = tuple(f"file:/hall/Cam{n}.mp4" for n in range(3))
    write_features(spark, tmp_path / "out", Frames(videos, 10, LENGTH), spec.identity())
    common = [f"output={tmp_path}/out", f"featurizer.weights={checkpoint}"]
    command = [
        "ask",
        str(tmp_path / "out"),
        "a person lying on the floor",
        "--not",
        "an empty hall",
        "--json",
    ]
    assert main([*command, "--threshold", "0", *common[1:]]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["page_info"]["total_results"] == 3
    its = answer["data"][0]["classes"][0]
    assert its["name"] == "a person lying on the floor" and 0 <= its["score"] <= 100
    assert [(clip["start"], clip["end"]) for clip in its["clips"]] == [(0, 10)]
    assert main(["index", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    text = ["--text", "a person lying on the floor", "--each", "--limit", "3", "--json"]
    assert main(["search", str(tmp_path / "out"), *text, *common[1:]]) == 0
    scores = [hit["score"] for hit in json.loads(capsys.readouterr().out)["data"]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True) and -1 <= scores[0] <= 1


def test_what_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    clip = DeepImageFeaturizer(inputCol="c", outputCol="f", modelName="CLIP-ViT-L-14")
    with pytest.raises(WeightsError, match=r"could not be downloaded .*featurizer\.weights=DIR"):
        clip.feature_spec()
    with pytest.raises(WeightsError, match="are not a CLIP checkpoint"):
        clip.copy().setWeights(str(tmp_path)).feature_spec()
    with pytest.raises(ConfigError, match="CLIP-ViT-B-32 needs OpenVINO"):
        engines.require_openvino("CLIP-ViT-B-32", "tensorflow")
