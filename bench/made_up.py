"""Made-up versions: the same words for both sides, in Chinese and in Latin letters, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CROPS = ("小麦", "水稻", "玉米", "大豆", "棉花", "番茄", "黄瓜", "苹果", "葡萄", "茶叶", "甘蔗", "油菜")
TASKS = ("病害识别", "产量预测", "生长监测", "品质分级", "杂草检测", "虫害预警", "灌溉决策", "图像分割")
FAMILIES = ("resnet50", "efficientnet", "vit-base", "yolo_v8", "swin-tiny", "llama", "smollm2", "mobilenet", "convnext")
TYPES = ("vision", "transformer", "classification", "regression")
FRAMEWORKS = ("pytorch", "gguf", "onnx")
REGIONS = ("华北", "华东", "西南", "东北")


@dataclass(frozen=True)
class MadeUp:
    """One version of a model of its own."""

    number: int
    crop: str
    task: str
    family: str
    model_type: str
    framework: str
    classes: int
    region: str

    def name(self) -> str:
        """Returns the unique name of its model."""
        return f"{self.crop}{self.task}_{self.family}_{self.number:06}"

    def description(self) -> str:
        """Returns a sentence."""
        return f"用于{self.crop}{self.task}的{self.family}模型，{self.region}地区"

    def ours(self) -> dict[str, Any]:
        """Returns the body of `POST /api/models`."""
        return {
            "name": self.name(),
            "model_id": f"{self.name()}_v1",
            "model_type": self.model_type,
            "framework": self.framework,
            "description": self.description(),
            "metadata": {"num_classes": self.classes, "crop": self.crop, "region": self.region},
        }

    def rival_model(self) -> dict[str, Any]:
        """Returns the body of `registered-models/create`."""
        return {"name": self.name(), "description": self.description(), "tags": self.tags()}

    def rival_version(self) -> dict[str, Any]:
        """Returns the body of `model-versions/create`."""
        source = f"s3://bench/{self.number}"
        return {"name": self.name(), "source": source, "description": self.description(), "tags": self.tags()}

    def tags(self) -> list[dict[str, str]]:
        """Returns what ours keeps in fields, as the rival's tags: all it can filter by."""
        values = {
            "type": self.model_type,
            "framework": self.framework,
            "num_classes": str(self.classes),
            "crop": self.crop,
            "region": self.region,
        }
        return [{"key": key, "value": value} for key, value in values.items()]


def versions(count: int, seed: int = 42) -> Iterator[MadeUp]:
    """Makes versions, each of a model of its own."""
    dice = random.Random(seed)
    for number in range(count):
        yield MadeUp(
            number,
            dice.choice(CROPS),
            dice.choice(TASKS),
            dice.choice(FAMILIES),
            dice.choice(TYPES),
            dice.choice(FRAMEWORKS),
            dice.randrange(1000),
            dice.choice(REGIONS),
        )
