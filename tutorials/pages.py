"""A notebook as a web page: CUDA in C++'s colours, code that wraps, tables and figures as wide as the screen allows."""

import copy
import re

STYLE = """<style>
  body.jp-Notebook { padding: 0; }
  main { max-width: 62rem; margin: 0 auto; padding: 0.5rem 1rem 4rem; }
  .jp-RenderedMarkdown { font-size: 16px; line-height: 1.55; }
  .jp-RenderedMarkdown img { max-width: 100%; height: auto; }
  .jp-RenderedMarkdown details { margin: 0.8em 0; padding: 0.2em 1em; border-left: 3px solid #e0a070; }
  .jp-RenderedMarkdown summary { cursor: pointer; }
  .jp-RenderedImage img, .jp-OutputArea img { max-width: 100% !important; height: auto !important; }
  .highlight pre, .jp-RenderedText pre, .jp-RenderedMarkdown pre {
    font-family: var(--jp-code-font-family, monospace), monospace !important;
    white-space: pre-wrap !important; overflow-wrap: anywhere; font-size: 13px; line-height: 1.4;
  }
  .jp-Cell-inputWrapper, .jp-OutputArea-child { min-width: 0; }
  .jp-RenderedHTMLCommon table { display: block; max-width: 100%; overflow-x: auto; margin-left: 0; font-size: 14px; }
  .jp-RenderedHTMLCommon p code, .jp-RenderedHTMLCommon li code { overflow-wrap: anywhere; }
  mjx-container[display="true"], .MathJax_Display, .MathJax_SVG_Display { overflow-x: auto; overflow-y: hidden; }
  audio { max-width: 100%; }
  @media (max-width: 700px) {
    main { padding: 0.25rem 0.5rem 3rem; }
    .jp-InputPrompt, .jp-OutputPrompt { display: none !important; }
    .jp-Cell { padding: 4px 0 !important; }
    .highlight pre, .jp-RenderedText pre, .jp-RenderedMarkdown pre { font-size: 11.5px; }
    .jp-RenderedImage { overflow-x: auto; }  /* a figure scrolls: at this width its letters could not be read */
    .jp-RenderedImage img { max-width: none !important; width: 600px !important; }
  }
</style>"""
STRING = re.compile(r'r?"""(?:[^"\\]|\\.|"(?!""))*"""', re.S)
FOLD = re.compile(r"<details><summary>(.*?)</summary>\n\n(.*?)\n\n</details>", re.S)  # nbconvert would close it at once
CUDA = re.compile(r"__global__|__device__|__shared__")


def page(notebook, title, folder):
    """HTML with all pictures inside; formulas are drawn by MathJax, which a browser fetches.   folder: of pictures"""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(embed_images=True, filters={"highlight_code": highlighted})  # a registered one is replaced
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = FOLD.sub(r"FOLD-BEGINS \1\n\n\2\n\nFOLD-ENDS", cell.source)
    resources = {"metadata": {"name": title, "path": str(folder)}}
    text = exporter.from_notebook_node(notebook, resources)[0]
    text = re.sub(r"<p>FOLD-BEGINS (.*?)</p>", r"<details><summary>\1</summary>", text)
    text = text.replace("<p>FOLD-ENDS</p>", "</details>")
    return text.replace("</head>", f"{STYLE}</head>", 1)


def highlighted(source, language=None, metadata=None):
    """A cell of Python as HTML; texts in triple quotes that hold CUDA are coloured as C++."""
    from pygments import format as formatted
    from pygments.formatters import HtmlFormatter

    return formatted(tokens(source), HtmlFormatter(cssclass=" highlight hl-ipython3"))


def tokens(source):
    """Pygments' (kind, text) of a cell, in order; their texts together are the source."""
    from pygments.lexers import CudaLexer, PythonLexer
    from pygments.token import String

    same = {"ensurenl": False, "stripnl": False}
    at = 0
    for match in STRING.finditer(source):
        if not CUDA.search(match[0]):
            continue
        yield from PythonLexer(**same).get_tokens(source[at : match.start()])
        opening = match[0].index('"""') + 3
        yield String.Double, match[0][:opening]
        yield from CudaLexer(**same).get_tokens(match[0][opening:-3])
        yield String.Double, '"""'
        at = match.end()
    yield from PythonLexer(**same).get_tokens(source[at:])
