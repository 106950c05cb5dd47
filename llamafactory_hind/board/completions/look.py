"""The style of our pages, and the words on them. Colours are gradio's, so that both themes are right."""

STYLE = """<style>
.hc{font-size:14px;line-height:1.45;color:var(--body-text-color,inherit)}
.hc-line{margin:4px 0 8px;color:var(--body-text-color,inherit)}
.hc-card{border:1px solid var(--border-color-primary,#8886);border-radius:8px;padding:10px;margin:0 0 12px;
  background:var(--background-fill-primary,transparent);overflow:hidden}
.hc-head{display:flex;flex-wrap:wrap;gap:12px;font-weight:600;margin-bottom:6px}
.hc-body{display:flex;gap:14px;flex-wrap:wrap}
.hc-media{display:flex;flex-wrap:wrap;gap:6px;flex:0 1 320px;align-content:flex-start}
.hc-media>details{flex-basis:100%}
.hc-fig{margin:0;max-width:320px}.hc-fig>div{position:relative;width:fit-content;max-width:100%}
.hc-fig img{display:block;max-width:100%;margin:0}.hc-wide{overflow-x:auto}.hc-curve{max-width:520px}
.hc-fig svg{position:absolute;inset:0;width:100%;height:100%;pointer-events:none}
.hc-fig svg g{pointer-events:auto}.hc-fig figcaption{font-size:12px;overflow-wrap:anywhere}
.hc-small .hc-fig{max-width:150px}
.hc-grey{width:160px;min-height:90px;padding:8px;border:1px dashed var(--border-color-primary,#888);border-radius:4px;
  font-size:12px;overflow-wrap:anywhere;background:var(--background-fill-secondary,#8882)}
.hc-text{flex:1 1 420px;min-width:0}
.hc-prompt{white-space:pre-wrap;overflow-wrap:anywhere;margin:0 0 8px;max-height:16em;overflow:auto}
.hc table{border-collapse:collapse;width:100%;font-size:13px;display:table}
.hc th,.hc td{border:0!important;border-bottom:1px solid var(--border-color-primary,#8884)!important;padding:3px 6px!important;
  text-align:left;vertical-align:top}
.hc td.hc-n,.hc th.hc-n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.hc-answer{white-space:pre-wrap;overflow-wrap:anywhere;max-height:14em;overflow:auto;min-width:220px}
.hc-hit{outline:2px solid var(--color-accent,#0072b2);outline-offset:-2px}
.hc-over{opacity:.75}
.hc pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px;max-height:24em;overflow:auto;margin:4px 0}
.hc details{margin-top:4px}.hc summary{cursor:pointer}
.hc-two{display:grid;grid-template-columns:1fr 1fr;gap:12px}.hc-two>div{min-width:0}
.hc a.hc-link,.hc button.hc-link{background:none;border:0;padding:0;color:var(--link-text-color,#0072b2);cursor:pointer;
  text-decoration:underline;font:inherit}
.hc-noboxes .hc-fig svg{display:none}
.hc-jump{position:absolute!important;left:-9999px!important;width:1px!important;height:1px!important;overflow:hidden!important}
@media(max-width:700px){.hc-two{grid-template-columns:1fr}}
</style>"""
DASH = "–"
LOW, HIGH = (213, 94, 0), (0, 114, 178)  # orange and blue, told apart by all; the number stands beside
ORIGINS = {"row": "#009e73", "model": "#d55e00"}  # of boxes


def shade(value: float | None, low: float, high: float) -> str:
    """Return the background of a number between the lowest and the highest; none where there is no number or no range."""
    if value is None or not high > low:
        return ""
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    strength = abs(share - 0.5) * 0.7
    red, green, blue = HIGH if share >= 0.5 else LOW
    return f"background:rgba({red},{green},{blue},{strength:.2f})"
