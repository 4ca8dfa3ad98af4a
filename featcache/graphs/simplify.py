"""x"""
def simplify(graph):
    graph.prune()
