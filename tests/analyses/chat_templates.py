"""Chat templates of the kinds that real models have, and templates that climb to the interpreter.

The ordinary ones are written for these tests after the constructs that published templates use:
macros, namespaces, slices, loop variables, tool schemas, dates, whitespace control.
"""

from __future__ import annotations

from pathlib import Path

ORDINARY = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parent / "templates").glob("*.jinja"))
}

# Each with the code that must be among its findings. Sources: GHSA-56xg-wfcc-g829 (CVE-2024-34359),
# CVE-2026-5760, the sandbox escapes that jinja2's changelog lists (CVE-2016-10745, CVE-2019-10906,
# CVE-2024-56326, CVE-2025-27516), and collections of template injections.
CLIMBING = [
    ("{{ ''.__class__ }}", "WK901"),
    (
        "{% for c in ().__class__.__base__.__subclasses__() %}{% if c.__name__ == 'catch_warnings' %}"
        "{{ c()._module.__builtins__['__import__']('os').popen('id').read() }}{% endif %}{% endfor %}",
        "WK901",
    ),
    ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "WK901"),
    ("{{ joiner.__init__.__globals__ }}{{ namespace.__init__ }}{{ lipsum.__globals__ }}", "WK901"),
    ("{{ range.__class__ }}{{ self._TemplateReference__context }}", "WK901"),
    ("{{ config.__class__.from_envvar('PATH') }}", "WK901"),
    ("{{ ''|attr('__class__')|attr('__mro__') }}", "WK901"),
    (r"{{ ''|attr('\x5f\x5fclass\x5f\x5f') }}", "WK901"),
    ("{{ ''|attr(request.args.a) }}", "WK902"),
    (r"{{ request['application']['\x5f\x5fglobals\x5f\x5f']['os'].popen('id') }}", "WK901"),
    ("{{ ''['__cla' ~ 'ss__'] }}", "WK901"),
    ("{{ ''['__cla' + 'ss__'] }}", "WK901"),
    ("{{ ''[('__', 'class', '__')|join] }}", "WK902"),
    ("{{ ''['__ssalc__'|reverse] }}", "WK901"),
    ("{{ ''['%c%cclass%c%c'|format(95,95,95,95)] }}", "WK902"),
    ("{{ ''['%c%cclass%c%c' % (95,95,95,95)] }}", "WK902"),
    ("{{ ''['{0}{0}class{0}{0}'.format('_')] }}", "WK902"),
    ("{{ ''['__CLASS__'|lower] }}{{ ''['__CLASS__'.lower()] }}", "WK901"),
    ("{{ ''['X__class__'[1:]] }}", "WK901"),
    ("{{ ''['x__class__'.replace('x', '')] }}", "WK902"),
    ("{{ ''['_' * 2 ~ 'class' ~ '_' * 2] }}", "WK902"),
    ("{% set u = (lipsum|string)[18] %}{{ ''[u ~ u ~ 'class' ~ u ~ u] }}", "WK902"),
    ("{% set u = (()|select|string|list)[24] %}{{ ''[u ~ 'x'] }}", "WK902"),
    ("{{ ''[(messages|pprint)[3] ~ 'x'] }}", "WK902"),
    ("{{ ''[namespace|upper|list|last ~ 'x'] }}", "WK902"),
    ("{% set c = dict(__cl=1, ass__=2)|join %}{{ ''[c] }}", "WK902"),
    ("{% set c = dict(__class__=1)|list|first %}{{ ''[c] }}", "WK901"),
    ("{% macro g(o, n) %}{{ o[n] }}{% endmacro %}{{ g('', '__class__') }}", "WK901"),
    (
        "{% macro g(o, n) %}{{ o[n] }}{% endmacro %}{% set h = g %}{{ h('', n='__class__') }}",
        "WK901",
    ),
    (
        "{% macro m() %}{{ caller('__class__') }}{% endmacro %}{% call(n) m() %}{{ ''[n] }}{% endcall %}",
        "WK901",
    ),
    ("{% macro u() %}__class__{% endmacro %}{{ ''[u()] }}", "WK902"),
    ("{% set x %}__class__{% endset %}{{ ''[x] }}", "WK901"),
    ("{% set x %}__{{ 'class' }}__{% endset %}{{ ''[x] }}", "WK902"),
    ("{% for n in ['__class__'] %}{{ ''[n] }}{% endfor %}", "WK901"),
    ("{% with a='__class__' %}{{ ''[a] }}{% endwith %}", "WK901"),
    ("{% set a, b = '__cl', 'ass__' %}{{ ''[a ~ b] }}", "WK901"),
    ("{% set ns = namespace(a='__class__') %}{{ ''[ns.a] }}", "WK901"),
    (
        "{% set ns = namespace() %}{% set ns.b = '__cl' %}{% set ns.b = ns.b + 'ass__' %}{{ ''[ns.b] }}",
        "WK901",
    ),
    (
        "{% set ns = namespace(x='') %}{% for c in '_class' %}{% set ns.x = ns.x ~ c %}{% endfor %}{{ ''[ns.x] }}",
        "WK902",
    ),
    ("{{ ''[{'a': '__class__'}.a] }}{{ ''[({'a': '__class__'}.values()|list)[0]] }}", "WK901"),
    (
        "{{ ''[x or '__class__'] }}{{ ''['a' if x else '__class__'] }}{{ ''[y|default('__class__')] }}",
        "WK901",
    ),
    ("{{ ''[bos_token] }}", "WK902"),
    ("{{ ['']|map(attribute='__class__')|list }}", "WK901"),
    ("{{ ['']|map('attr', '__class__')|list }}", "WK901"),
    ("{{ ['']|map('at' ~ 'tr', '__cla' ~ 'ss__')|list }}", "WK901"),
    ("{{ ['']|map(name)|list }}", "WK902"),
    ("{{ [{}]|selectattr('x.__class__')|list }}{{ [{}]|groupby('__class__') }}", "WK901"),
    ("{{ [{}]|sort(attribute='x,__class__') }}", "WK901"),
    ("{{ '{0.__class__.__init__}'.format('') }}", "WK901"),
    ("{{ '{x.__class__}'.format_map({'x': 1}) }}", "WK901"),
    ("{{ ('{0.' ~ a ~ '}').format('') }}", "WK902"),
    ("{{ loop._iterator }}{{ x.gi_frame.f_globals }}{{ x.mro() }}", "WK901"),
    ("{% set ns.__class__ = 1 %}", "WK901"),
    ("{{ dict(__class__=1) }}", "WK901"),
    ("{{ open('/etc/passwd').read() }}", "WK903"),
    ("{{ eval('1') }}", "WK903"),
    ("{{ get_flashed_messages('x') }}", "WK903"),
    ("{{ messages[0].system('id') }}", "WK903"),
    ("{{ (a or b)() }}", "WK903"),
    ("{{ x['y']() }}", "WK903"),
    ("{% do x.__class__ %}", "WK901"),
    ("{% filter attr('__class__') %}x{% endfilter %}", "WK901"),
    ("{% call cycler.__init__('a') %}{% endcall %}", "WK901"),
    ("{% generation %}{{ ''.__class__ }}{% endgeneration %}", "WK901"),
    ("{% include '/etc/passwd' %}", "WK904"),
    ("{% import 'a' as b %}", "WK904"),
    ("{% from 'a' import b %}", "WK904"),
    ("{% extends 'x' %}", "WK904"),
    ("{% trans %}x{% endtrans %}{{ ''.__class__ }}", "WK901"),
    (r"{% if %}{{ x['\x5f\x5fclass\x5f\x5f'] }}", "WK901"),
]

ODD = [
    ("{{ len(messages) }}", "WK907"),
    ("{{ messages|from_json }}", "WK907"),
    ("{{ __import__ }}", "WK907"),
    ("{{ '__class__' }}", "WK907"),
    ("{% for i in range(999999999) %}x{% endfor %}", "WK906"),
    ("{{ 9 ** 999999 }}", "WK906"),
    ("{{ 'x' * 999999999 }}", "WK906"),
    ("{% for %}", "WK905"),
    ("{{ " + "(" * 500 + "1" + ")" * 500 + " }}", "WK905"),
    ("{{ " + "1" * 5000 + " }}", "WK905"),
    ("{{ a }}" * 60_000, "WK905"),
    ("x" * (1 << 20) + "{{ a }}", "WK905"),
]
