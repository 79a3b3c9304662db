"""`factory.toml` and `FACTORY_*`: every section in one frozen value, loaded by the command line only."""

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from factory.collect.settings import CollectSettings
from factory.dataset.settings import DatasetSettings
from factory.mining.settings import MiningSettings, SignalSettings
from factory.mistakes import PREFIX, UNKNOWN, mistakes_in, unreadable_variables
from labeling.settings import LabelingSettings
from logs_schema.errors import ConfigurationError
from logs_schema.settings import HouseSettings, ImportSettings, PiiSettings, Section, StoreSettings
from logs_schema.wording import counted
from training.settings import EvaluationSettings, GateSettings, TrainingSettings

CONFIG_FILE = "factory.toml"
NOT_SETTINGS = {"FACTORY_ARGILLA_API_KEY", "FACTORY_COLLECT_TOKEN", "FACTORY_CONFIG", "FACTORY_JUDGE_API_KEY"}
"""Variables of the same prefix that are not settings: secrets, and the path of the file itself."""


class ScheduleSettings(Section):
    """`[schedule]`: when `factory retrain` is due, and who promotes."""

    min_new_reviews: int = Field(default=50, ge=1)
    """Accepted reviews since the last dataset that make a retraining due."""
    promotion: Literal["manual", "auto"] = "manual"
    """`auto` promotes what passes the gate; `manual` waits for `factory approve --by NAME`."""
    silent_after_hours: float = Field(default=48.0, gt=0)
    """`factory status` warns when the newest log, or one application's, is older; see `logs_schema.silence`."""
    coverage_newest_hours: float = Field(default=24.0, gt=0)
    """`factory status` compares what the logs of this time up to the newest record hold …"""
    coverage_before_hours: float = Field(default=168.0, gt=0)
    """… with those of this time before it …"""
    coverage_drop: float = Field(default=0.5, gt=0, lt=1)
    """… and warns when a field's share fell below this part of what it was."""


class Settings(BaseSettings):
    """All sections. Environment variables (`FACTORY_MINING__BUDGET=50`) override the file."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid")

    root: Path
    """Folder of `factory.toml`; every relative path in the settings starts there."""
    store: StoreSettings = StoreSettings()
    imports: ImportSettings = ImportSettings()
    collect: CollectSettings = CollectSettings()
    pii: PiiSettings = PiiSettings()
    house: HouseSettings = HouseSettings()
    signals: SignalSettings = SignalSettings()
    mining: MiningSettings = MiningSettings()
    labeling: LabelingSettings = LabelingSettings()
    dataset: DatasetSettings = DatasetSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    gate: GateSettings = GateSettings()
    schedule: ScheduleSettings = ScheduleSettings()

    def path(self, relative: str) -> Path:
        """A path from the settings, absolute."""
        return (self.root / relative).absolute()

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store, with a SQLite path made absolute."""
        prefix = "sqlite:///"
        if not self.store.url.startswith(prefix):
            return self.store.url
        return prefix + str(self.path(self.store.url.removeprefix(prefix)))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, whose content is handed to the constructor."""
        return env_settings, init_settings


def load(config: Path | None = None) -> Settings:
    """Settings from `config`, else `$FACTORY_CONFIG`, else `./factory.toml`, else the defaults.

    Raises:
        ConfigurationError: with every mistake in the file and the environment at once.
    """
    named = config or (Path(os.environ["FACTORY_CONFIG"]) if os.environ.get("FACTORY_CONFIG") else None)
    file = named or Path(CONFIG_FILE)
    content: dict[str, Any] = {}
    if file.is_file():
        try:
            content = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{file} is not valid TOML: {error}. Mend it, or run `factory init` elsewhere."
            ) from error
    elif named:
        raise ConfigurationError(f"There is no configuration file {file}. Create one with `factory init`.")
    known = {name for name in Settings.model_fields if name != "root"}
    mistakes = [f"{file}: unknown section [{name}]" for name in content if name not in known]
    mistakes += [
        f"${name}: {UNKNOWN}"
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in NOT_SETTINGS and not _is_setting(name)
    ]
    settings = None
    try:
        settings = Settings(
            root=file.absolute().parent, **{key: value for key, value in content.items() if key in known}
        )
    except ValidationError as error:
        mistakes += mistakes_in(Settings, file, content, error)
    except SettingsError as error:
        mistakes += unreadable_variables(Settings) or ([] if mistakes else [f"environment: {error}"])
    if mistakes or settings is None:
        each = list(dict.fromkeys(mistakes))
        listed = "\n  ".join(each)
        raise ConfigurationError(f"The configuration has {counted(len(each), 'mistake')}:\n  {listed}")
    return settings


def _is_setting(variable: str) -> bool:
    section, _, key = variable.removeprefix(PREFIX).lower().partition("__")
    field = Settings.model_fields.get(section)
    annotation = field.annotation if field and section != "root" else None
    return (
        isinstance(annotation, type)
        and issubclass(annotation, Section)
        and key.split("__")[0] in annotation.model_fields
    )
