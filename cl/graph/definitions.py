"""The top-level definitions of our source files, in a form that neither their names nor their modules enter.

A *definition* is a top-level function, class or assignment. Its canonical text leaves out what cannot change a result:

- docstrings and comments, annotations of functions and of local variables, the message of a `UserError`;
- import statements: a name from a library is written as its full dotted path, whatever it is called here;
- names of our own definitions: a reference to one is a numbered placeholder.

So a rename or a move of a definition, a module or an import changes no text. Files are parsed and never imported.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NEUTRAL = ("cl.construction", "cl.errors", "cl.graph.roles", "cl.registry", "cl.methods.strategy", "cl.metrics.records")
"""Look-up by name, messages and plain records: their content is part of a node's specification or of its result."""

Place = tuple[str, str]
"""A definition: its module, and its name there; the name BODY stands for statements with effects of their own."""
BODY = ""


@dataclass(frozen=True)
class Definition:
    """A definition's canonical text, and the definitions that the placeholders in it stand for, in order."""

    text: str
    references: tuple[Place, ...]


@dataclass(frozen=True)
class Module:
    """A source file.

    Args:
        name: dotted name.
        statements: top-level statements by the name that they define; BODY: all others.
        imports: what a name of the module was imported from: (module, name), the name None for a module.
    """

    name: str
    statements: dict[str, list[ast.stmt]]
    imports: dict[str, tuple[str, str | None]]


def resolve(module: str, name: str) -> Place | None:
    """Where a name of one of our modules is defined, through re-exports. None: not by us, or neutral."""
    found = read(module)
    if name in found.statements:
        return None if module in NEUTRAL else (module, name)
    if name not in found.imports:
        return None
    source, original = found.imports[name]
    return resolve(source, original) if original is not None and is_ours(source) else None


@cache
def definition(place: Place) -> Definition:
    """The canonical form of a definition. Raises KeyError where the module has none of that name."""
    module = read(place[0])
    normal = _Canonical(module, place[1])
    copies = [normal.visit(copy.deepcopy(statement)) for statement in module.statements[place[1]]]
    text = "\n".join(ast.unparse(ast.fix_missing_locations(each)) for each in copies)
    return Definition(text, tuple(normal.references))


@cache
def read(module: str) -> Module:
    """Parse a module's source. Raises ModuleNotFoundError where it has no source file."""
    path = path_of(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    statements: dict[str, list[ast.stmt]] = {}
    imports: dict[str, tuple[str, str | None]] = {}
    for statement in _executed(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imports |= imported(statement, package)
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            for name in _defined(statement) or [BODY]:
                statements.setdefault(name, []).append(statement)
        if isinstance(statement, ast.Try):  # an optional library
            for inner in ast.walk(statement):
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    imports |= imported(inner, package)
    return Module(module, statements, imports)


def imported(statement: ast.Import | ast.ImportFrom, package: str) -> dict[str, tuple[str, str | None]]:
    """The names that an import statement binds, with what they stand for."""
    if isinstance(statement, ast.Import):
        return {a.asname or a.name.split(".")[0]: (a.name if a.asname else a.name.split(".")[0], None)
                for a in statement.names}  # fmt: skip
    above = package.split(".")[: len(package.split(".")) - statement.level + 1] if statement.level else []
    source = ".".join([*above, *([statement.module] if statement.module else [])])
    found: dict[str, tuple[str, str | None]] = {}
    for alias in statement.names:
        whole = f"{source}.{alias.name}"
        is_module = is_ours(source) and find(whole) is not None
        found[alias.asname or alias.name] = (whole, None) if is_module else (source, alias.name)
    return found


def path_of(module: str) -> Path:
    """Source file of a module. Raises ModuleNotFoundError where there is none."""
    found = find(module)
    if found is None:
        raise ModuleNotFoundError(f"no source file for module {module}")
    return found


@cache
def find(module: str) -> Path | None:
    """Source file of a module, found without importing its packages. None: it has no Python source."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    package = sys.modules.get(module.rpartition(".")[0])  # its path may have been extended
    if package is not None and hasattr(package, "__path__"):
        stems = [Path(folder, rest[-1]) for folder in package.__path__]
    else:
        stems = [Path(folder, *rest) for folder in spec.submodule_search_locations or []]
    files = [file for stem in stems for file in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")]
    return next((file for file in files if file.is_file()), None)


@cache
def is_ours(module: str) -> bool:
    """Whether no package manager installed a module: it belongs to this checkout or to the user."""
    top = module.split(".")[0]
    if top in ("cl", "strategies", "scenarios"):  # also in an installed release
        return True
    if top in sys.stdlib_module_names:
        return False
    file = find(top)
    places = _bare(top) if file is None else [file]
    return any(not {"site-packages", "dist-packages"} & set(place.parts) for place in places)


def _bare(top: str) -> list[Path]:
    """Folders of a package without an `__init__.py`; none of any other module."""
    spec = importlib.util.find_spec(top)
    return [] if spec is None or spec.origin else [Path(place) for place in spec.submodule_search_locations or []]


def _executed(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements but for the branch that only a type checker reads."""
    for statement in statements:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from statement.orelse
        else:
            yield statement


def _defined(statement: ast.stmt) -> list[str]:
    """Names that a top-level statement defines; none where it also has an effect of another kind."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return []
    names = [n.id for target in targets if target for n in ast.walk(target) if isinstance(n, ast.Name)]
    plain = all(isinstance(target, ast.Name | ast.Tuple) for target in targets)
    return names if plain else []


class _Canonical(ast.NodeTransformer):
    """Rewrites a definition into its canonical form and collects the places that it refers to."""

    def __init__(self, module: Module, own: str) -> None:
        self.module, self.own = module, own
        self.references: list[Place] = []
        self.scopes: list[dict[str, tuple[str, str | None] | None]] = []  # local names; of imports: what they stand for
        self.package = module.name.rpartition(".")[0]

    def _placeholder(self, place: Place) -> ast.Name:
        if place not in self.references:
            self.references.append(place)
        return ast.Name(f"§{self.references.index(place)}", ast.Load())

    def _stands_for(self, name: str) -> tuple[bool, tuple[str, str | None] | None]:
        """Whether a name is local, and the import that it stands for, if any."""
        for scope in reversed(self.scopes):
            if name in scope:
                return True, scope[name]
        return False, self.module.imports.get(name)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if self.scopes and isinstance(node.ctx, ast.Store):  # a local name, or a field of a class
            return node
        local, source = self._stands_for(node.id)
        if source is None:
            if local or node.id not in self.module.statements:
                return node
            if node.id == self.own:
                return ast.Name("§self", node.ctx)
            return self._own(self.module.name, node.id, node)
        origin, name = source
        if not is_ours(origin):
            return ast.Name(origin if name is None else f"{origin}.{name}", node.ctx)
        if name is not None:
            return self._own(origin, name, node)
        for each in read(origin).statements:  # a module as a value: all of it
            self._placeholder((origin, each))
        return ast.Name("§module", node.ctx)

    def _own(self, module: str, name: str, node: ast.expr) -> ast.expr:
        place = resolve(module, name)
        if place is not None:
            return self._placeholder(place)
        found = read(module)
        if name in found.imports and not is_ours(found.imports[name][0]):
            return ast.Name(".".join(filter(None, found.imports[name])), ast.Load())
        return ast.Name("§neutral", ast.Load())

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if isinstance(node.value, ast.Name):
            _, source = self._stands_for(node.value.id)
            if source is not None and source[1] is None and is_ours(source[0]):
                inner = f"{source[0]}.{node.attr}"
                if find(inner) is None:
                    return self._own(source[0], node.attr, node)
        self.generic_visit(node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Name) and node.func.id == "UserError":
            return ast.Name("§error", ast.Load())
        self.generic_visit(node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.stmt | None:
        if isinstance(node.value, ast.Constant):
            return None
        self.generic_visit(node)
        return node

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt | None:
        if self.scopes and self.scopes[-1].get("§class") is None:
            value = node.value
            return None if value is None else self.visit(ast.Assign([node.target], value))
        node.annotation = self._annotation(node.annotation)
        self.generic_visit(node)
        return node

    def _annotation(self, annotation: ast.expr) -> ast.expr:
        """Of a field's annotation only whether it makes a field at all: the type does not change what is computed."""
        head = ast.unparse(annotation).partition("[")[0]
        return ast.Name("ClassVar" if head.endswith("ClassVar") else "§type", ast.Load())

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> ast.AST:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
        arguments.defaults = [self.visit(value) for value in arguments.defaults]
        arguments.kw_defaults = [None if value is None else self.visit(value) for value in arguments.kw_defaults]
        for argument in every:
            argument.annotation = None
        scope: dict[str, tuple[str, str | None] | None] = dict.fromkeys(argument.arg for argument in every)
        body = node.body if isinstance(node.body, list) else [node.body]
        scope |= _bound(body, self.package)
        if isinstance(node, ast.Lambda):
            self.scopes.append(scope)
            node.body = self.visit(node.body)
        else:
            node.decorator_list = [self.visit(each) for each in node.decorator_list]
            node.returns = None
            if not self.scopes:
                node.name = "§self"
            self.scopes.append(scope)
            found = [self.visit(each) for each in node.body]
            node.body = [each for each in found if each is not None] or [ast.Pass()]
        self.scopes.pop()
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.bases = [self.visit(base) for base in node.bases]
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        node.decorator_list = [self.visit(each) for each in node.decorator_list]
        if not self.scopes:
            node.name = "§self"
        self.scopes.append({"§class": ("", None)})  # names of a class are not seen from its methods
        found = [self.visit(each) for each in node.body]
        node.body = [each for each in found if each is not None] or [ast.Pass()]
        self.scopes.pop()
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Visit the children; the names of a comprehension are its own."""
        own = isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp)
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            self.scopes.append(_bound([generator.target for generator in node.generators], self.package))
        super().generic_visit(node)
        if own:
            self.scopes.pop()
        return node


def _bound(nodes: list[ast.stmt] | list[ast.expr], package: str) -> dict[str, tuple[str, str | None] | None]:
    """Names that a function's statements bind, nested functions apart; of imports what they stand for."""
    found: dict[str, tuple[str, str | None] | None] = {}
    todo: list[ast.AST] = list(nodes)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= imported(node, package)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = None
            continue
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.setdefault(node.id, None)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found[node.name] = None
        elif isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            continue
        todo.extend(ast.iter_child_nodes(node))
    return found
