"""The words of the tab of `synth` and `score`, English and Chinese."""

import re
from typing import Any

from ..fields import Field
from .chinese_help import HELP
from .forms import forms


BUTTONS = {
    "hind_synth_preview": ("Preview prompts", "预览提示词"),
    "hind_synth_start": ("Start synth", "开始合成"),
    "hind_score_start": ("Score", "评分"),
    "hind_score_evaluated": ("Score these predictions", "为这些预测评分"),
    "hind_job_stop": ("Stop", "停止"),
    "hind_job_resume": ("Resume", "继续"),
    "hind_job_use": ("Use as dataset in Train", "在 Train 中使用此数据集"),
}
WORDS = {
    "hind_synth_pipeline": ("Pipeline", "流程"),
    "hind_synth_preset": ("Preset", "预设"),
    "hind_synth_more": ("Further keys, as YAML", "其他参数（YAML）"),
    "hind_synth_advanced": ("Advanced", "高级"),
    "hind_synth_section": ("Write rows: synth", "生成数据：synth"),
    "hind_score_section": ("Metrics over predictions: score", "预测评分：score"),
    "hind_score_run": ("Predictions of Evaluate & Predict", "Evaluate & Predict 的预测"),
    "hind_job": ("Job", "任务"),
}
NAMES = {
    "dataset": ("Datasets to read", "读取的数据集"),
    "dataset_dir": ("Data folder", "数据目录"),
    "media_dir": ("Media folder", "媒体文件夹"),
    "output": ("File to write", "输出文件"),
    "output_dataset": ("Name of the new dataset", "新数据集名称"),
    "max_samples": ("Rows of each dataset", "每个数据集的行数"),
    "engine": ("Engine", "引擎"),
    "model_name_or_path": ("Model that writes", "生成模型"),
    "adapter_name_or_path": ("Adapters", "适配器"),
    "template": ("Template", "对话模板"),
    "batch_size": ("Rows together", "批大小"),
    "base_url": ("Servers", "服务器地址"),
    "model": ("Name at the server", "服务器上的模型名"),
    "api_key_env": ("Variable with the key", "密钥所在的环境变量"),
    "concurrency": ("Calls at the same time", "并发数"),
    "request_timeout": ("Seconds a call", "请求超时（秒）"),
    "max_retries": ("Attempts after a failure", "重试次数"),
    "price_in": ("Price of a million prompt tokens", "每百万输入词元价格"),
    "price_out": ("Price of a million written tokens", "每百万输出词元价格"),
    "extra_body": ("Added to every call", "附加请求字段"),
    "language": ("Language of prompts", "提示语言"),
    "shard": ("Shard", "分片"),
    "merge": ("Shards to join", "合并分片"),
    "max_failure_rate": ("Stop when more fails", "失败率上限"),
    "seed": ("Seed", "随机种子"),
    "temperature": ("Temperature", "采样温度"),
    "top_p": ("Top-p", "核采样"),
    "top_k": ("Top-k", "前 k 个"),
    "max_new_tokens": ("Length", "生成长度"),
    "max_attempts": ("Attempts", "尝试次数"),
    "num_samples": ("Texts a row", "每行文本数"),
    "metric": ("Metrics", "指标"),
    "predictions": ("File of predictions", "预测文件"),
    "prediction_field": ("Field of the prediction", "预测字段"),
    "answer_pattern": ("Pattern of the answer", "答案正则"),
    "missing": ("Missing predictions", "缺失预测"),
    "group_by": ("Mean for each", "分组列"),
    "answer_adapter": ("Adapters of the answerer", "答题适配器"),
    "answer_batch_size": ("Answers together", "答题批大小"),
    "answer_form": ("Form of answers", "答案写法"),
    "answer_max_new_tokens": ("Length of an answer", "答案长度"),
    "answer_model": ("Model that answers", "答题模型"),
    "answer_prompt": ("Prompt of the answer", "答题提示词"),
    "answerer_adapter": ("Adapters of the answerer", "答题适配器"),
    "answerer_model": ("Model that answers", "答题模型"),
    "box_gold": ("Where gold boxes are", "标准方框的位置"),
    "choice_batch_size": ("Choices together", "选项批大小"),
    "choice_matching": ("How a choice is named", "选项匹配方式"),
    "choice_norm": ("Likelihood by", "似然归一化"),
    "choice_score": ("Score of a choice", "选项评分"),
    "concepts": ("Concepts", "概念描述"),
    "concepts_prompt": ("Prompt of the concepts", "概念提示词"),
    "confidence_threshold": ("Confident above", "自信阈值"),
    "cot_adapter": ("Adapters of the reasoning", "推理适配器"),
    "cot_max_new_tokens": ("Length of the reasoning", "推理长度"),
    "cot_model": ("Model that reasons", "推理模型"),
    "cot_prompt": ("Prompt of the reasoning", "推理提示词"),
    "critic": ("Critic", "评审模型"),
    "critic_style": ("Regions of the critic", "评审区域样式"),
    "critic_template": ("Template of the critic", "评审模板"),
    "descriptor_engines": ("Other engines", "其他引擎"),
    "descriptor_max_new_tokens": ("Length of a descriptor", "描述长度"),
    "dynamic_answer_prompt": ("Prompt of the answers", "动态回答提示词"),
    "dynamic_questions_prompt": ("Prompt of the questions", "动态提问提示词"),
    "external_prompt": ("Prompt of the action", "动作提示词"),
    "first_number": ("Number of the first choice", "首个选项编号"),
    "helpful_by": ("What helps", "有帮助的判据"),
    "helpful_threshold": ("Helpful above", "有帮助阈值"),
    "hindsight_prompt": ("Prompt", "提示词"),
    "hint_prompt": ("Prompt of the hint", "提示的提示词"),
    "hint_tags": ("Hint tags", "提示标签"),
    "keep": ("Texts that are kept", "保留的文本"),
    "knowledge_adapter": ("Adapters of the knowledge", "知识适配器"),
    "knowledge_max_new_tokens": ("Length of a piece", "知识长度"),
    "knowledge_model": ("Model of the knowledge", "知识模型"),
    "knowledge_prompt": ("Prompt of the knowledge", "知识提示词"),
    "labels": ("Rated rows", "已评分样本"),
    "max_regions": ("Regions at most", "区域数上限"),
    "may_name_answer": ("Hints may name the answer", "提示可说出答案"),
    "min_reward": ("Least reward", "最低奖励"),
    "narrative": ("Narrative", "图片描述"),
    "narrative_prompt": ("Prompt of the narrative", "图片描述提示词"),
    "num_knowledge": ("Pieces of knowledge", "知识条数"),
    "num_questions": ("Questions", "问题数"),
    "num_triples": ("Triples a picture", "每图三元组数"),
    "pair_rule": ("Which pairs", "样本对规则"),
    "prefix_cut": ("Prefix cut", "前缀截断"),
    "rationale_share": ("Rows with a rationale", "保留理由的比例"),
    "reasoning_prompt": ("Prompt of the reasoning", "推理提示词"),
    "refer_by": ("Regions are named by", "区域指称方式"),
    "refine_by_model": ("Refined by the model", "由模型改写"),
    "refine_prompt": ("Prompt of the refinement", "改写提示词"),
    "refine_rules": ("Rules of the refinement", "改写规则"),
    "region_caption_prompt": ("Prompt of the captions", "区域描述提示词"),
    "region_captions": ("Captions of regions", "区域描述"),
    "region_detector": ("Detector", "区域检测器"),
    "region_style": ("How regions are shown", "区域样式"),
    "reward_funcs": ("Rewards", "奖励函数"),
    "reward_timeout": ("Seconds a reward", "奖励超时（秒）"),
    "seen_groups": ("Groups of the training", "训练中的组"),
    "show_answer": ("Show the gold answer", "展示标准答案"),
    "source": ("Name of the source", "来源名称"),
    "submission": ("File for the official script", "官方脚本文件"),
    "task": ("Task", "任务类型"),
    "threshold": ("Kept from", "保留阈值"),
    "triples_prompt": ("Prompt of the triples", "三元组提示词"),
    "use_cot": ("Reason first", "先推理"),
    "video_answer_prompt": ("Prompt of the answer", "答题提示词"),
}
SOURCE = re.compile(r" \[(?:ours|2nd|C|C code)\](?=\.|;|,|:|$)")


def label(field: Field, language: str) -> str:
    """Return the name and the key."""
    name = NAMES.get(field.key)
    return f"{name[language == 'zh']} · {field.key}" if name else field.key


def help_of(field: Field, language: str, owner: str = "") -> str:
    """Return the help; the page reads it as Markdown, so it is escaped.

    Args:
        field: of a form.
        language: of the Board.
        owner: of the form: a key may mean something else there.
    """
    chinese = HELP.get(f"{owner}.{field.key}", HELP.get(field.key)) if language == "zh" else None
    return chinese or _escaped(SOURCE.sub("", field.help))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def labels() -> dict[str, dict[str, tuple[Any, Any]]]:
    """Return element -> its words, as `board.tabs` has them."""
    return {
        **{name: {"value": words} for name, words in BUTTONS.items()},
        **{name: {"label": words} for name, words in WORDS.items()},
        **{
            form.name(field): {
                "label": (label(field, "en"), label(field, "zh")),
                "info": tuple(help_of(field, lang, form.owner) for lang in ("en", "zh")),
            }
            for form in forms().values()
            for field in form.fields
        },
    }
