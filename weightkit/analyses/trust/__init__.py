"""What a pickle may name: the trusted table, and the dangerous ones.

Trust is for one exact (module, name) in one *role*: called with arguments of a certain shape, made
an instance of, or only mentioned. Everything else is not trusted. Danger is by kind: what the thing
does, for whole modules and for telling names, so that a payload nobody has seen yet is judged like
its siblings.

No table depends on what is installed here: names are judged as text.
"""

from weightkit.analyses.trust.dangers import Danger
from weightkit.analyses.trust.names import danger
from weightkit.analyses.trust.trusted import TRUSTED, Trust, is_rebuild

__all__ = ["TRUSTED", "Danger", "Trust", "danger", "is_rebuild"]
