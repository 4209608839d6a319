"""Canonical form of definitions (`cl.graph.source_files`), which does not depend on their names and modules.

The canonical text of a definition leaves out everything that cannot change a result:

- docstrings, comments, annotations of functions and of local variables, the message of a `UserError`;
- import statements: a name from a library is written as its full dotted path, whatever alias the module uses;
- names of definitions in `cl` and of the user: a reference to a definition is a numbered placeholder.

So renaming or moving a definition, a module or an import does not change the text.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass
from functools import cache

from cl.graph.source_files import Module, Place, find, imported, is_ours, read, resolve


@dataclass(frozen=True)
class Definition:
    """Canonical form of a definition.

    Args:
        text: canonical text with placeholders.
        references: the referenced definitions, in the order of their placeholders.
    """

    text: str
    references: tuple[Place, ...]


@cache
def definition(place: Place) -> Definition:
    """The canonical form of a definition. Raises KeyError if the module does not define the name."""
    module = read(place[0])
    normal = _Canonical(module, place[1])
    copies = [normal.visit(copy.deepcopy(statement)) for statement in module.statements[place[1]]]
    text = "\n".join(ast.unparse(ast.fix_missing_locations(each)) for each in copies)
    return Definition(text, tuple(normal.references))


class _Canonical(ast.NodeTransformer):
    """Rewrites a definition into its canonical form and collects the definitions that it references.

    Args:
        module: module of the definition.
        own: name of the definition.
    """

    def __init__(self, module: Module, own: str) -> None:
        self.module, self.own = module, own
        self.references: list[Place] = []
        self.scopes: list[dict[str, tuple[str, str | None] | None]] = []  # local names -> imported object, or None
        self.package = module.name.rpartition(".")[0]

    def _placeholder(self, place: Place) -> ast.Name:
        if place not in self.references:
            self.references.append(place)
        return ast.Name(f"§{self.references.index(place)}", ast.Load())

    def _stands_for(self, name: str) -> tuple[bool, tuple[str, str | None] | None]:
        """Whether a name is local, and the imported object that it refers to, if any."""
        for scope in reversed(self.scopes):
            if name in scope:
                return True, scope[name]
        return False, self.module.imports.get(name)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Replace a name by the definition that it stands for."""
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
        for each in read(origin).statements:  # a module as a value references all its definitions
            self._placeholder((origin, each))
        return ast.Name("§module", node.ctx)

    def _own(self, module: str, name: str, node: ast.expr) -> ast.expr:
        """Canonical reference to a name of one of our modules."""
        place = resolve(module, name)
        if place is not None:
            return self._placeholder(place)
        found = read(module)
        if name in found.imports and not is_ours(found.imports[name][0]):
            return ast.Name(".".join(filter(None, found.imports[name])), ast.Load())
        return ast.Name("§neutral", ast.Load())

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """Replace an attribute of a module of ours by the definition that it stands for."""
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
        """Keep only whether an annotation is a ClassVar: the type of a field does not change a result."""
        head = ast.unparse(annotation).partition("[")[0]
        return ast.Name("ClassVar" if head.endswith("ClassVar") else "§type", ast.Load())

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> ast.AST:
        """Rewrite a function: defaults and decorators in the outer scope, the body in its own scope."""
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
        """Visit bases, keywords and decorators outside of the scope of the class, its body inside."""
        node.bases = [self.visit(base) for base in node.bases]
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        node.decorator_list = [self.visit(each) for each in node.decorator_list]
        if not self.scopes:
            node.name = "§self"
        self.scopes.append({"§class": ("", None)})  # methods do not see the names of their class
        found = [self.visit(each) for each in node.body]
        node.body = [each for each in found if each is not None] or [ast.Pass()]
        self.scopes.pop()
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Visit the children; a comprehension has its own scope."""
        own = isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp)
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            self.scopes.append(_bound([generator.target for generator in node.generators], self.package))
        super().generic_visit(node)
        if own:
            self.scopes.pop()
        return node


def _bound(nodes: list[ast.stmt] | list[ast.expr], package: str) -> dict[str, tuple[str, str | None] | None]:
    """Names that a function's statements bind, with the imported object for imports; nested functions are left out."""
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
