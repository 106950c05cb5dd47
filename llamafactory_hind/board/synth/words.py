"""Names of the fields of `synth` and `score`, English and Chinese; a key without an entry is its own name."""

import re

from ..fields import Field


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
}
SOURCE = re.compile(r" \[(?:ours|2nd|C|C code)\](?=\.|;|,|:|$)")


def label(field: Field, language: str) -> str:
    """Return the name and the key."""
    name = NAMES.get(field.key)
    return f"{name[language == 'zh']} · {field.key}" if name else field.key


def info(field: Field) -> str:
    """Return the help; the page reads it as Markdown, so it is escaped."""
    text = SOURCE.sub("", field.help)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
