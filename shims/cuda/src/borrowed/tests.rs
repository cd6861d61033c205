use super::*;

fn count(graph: CUgraph) -> usize {
    functions_of(graph).len()
}

#[test]
fn a_capture_that_fails_takes_no_functions_from_a_graph_that_was_there_before() {
    let [made, there] = [CUgraph(901), CUgraph(902)];
    let function = || Borrowed::Function(NodeFunction::unknown());
    insert(there, CUgraphNode(1), function(), false);
    keep(there);
    for graph in [made, there] {
        insert(graph, CUgraphNode(2), function(), true);
    }
    end_capture(None, true);
    assert_eq!((count(made), count(there)), (1, 2), "another capture goes on");
    end_capture(None, false);
    assert_eq!((count(made), count(there)), (0, 2));
    forget_graph(there);
    assert_eq!(count(there), 0);
}

/// An executable graph without copies would otherwise do those of another one.
#[test]
fn a_function_that_was_instantiated_alone_gets_no_copies_next_to_it() {
    let (graph, function) = (CUgraph(903), NodeFunction::unknown());
    insert(graph, CUgraphNode(3), Borrowed::Function(Arc::clone(&function)), false);
    for _ in 0..2 {
        assert!(!needs(graph).expect("it calls a function").any_copies);
    }
    let copy = Arc::new(HostCopy::unknown(&[0]));
    let around = Around { fetched: vec![copy], sent: Vec::new() };
    assert_eq!(function.place(around), Err(Error::NOT_SUPPORTED));
    forget_graph(graph);
}

/// A launch does not know what is inside its nodes.
#[test]
fn nothing_is_borrowed_inside_a_node() {
    let [inner, outer] = [CUgraph(911), CUgraph(912)];
    insert_inner(inner);
    assert_eq!(check_outer(inner), Err(Error::NOT_SUPPORTED));
    assert_eq!(check_outer(outer), Ok(()));
}
