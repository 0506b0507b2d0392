namespace TorchSharp;

public static partial class torch
{
    /// <summary>Tensors that this thread creates from now on, until the scope is disposed, are disposed with it unless they are moved or detached.</summary>
    public static DisposeScope NewDisposeScope() => DisposeScope.Begin();
}

/// <summary>
/// Owns the tensors that its thread created while it was the innermost scope. A tensor belongs to at most one scope; disposing a tensor takes it
/// out of its scope. Scopes belong to the thread that made them.
/// </summary>
public sealed class DisposeScope : IDisposable
{
    [ThreadStatic]
    private static DisposeScope? t_current;

    private HashSet<IDisposable> _disposables = new(ReferenceEqualityComparer.Instance);
    private bool _closed;

    private DisposeScope(DisposeScope? outer) => OuterScope = outer;

    internal DisposeScope? OuterScope { get; private set; }

    public IReadOnlyList<IDisposable> DisposablesView
    {
        get
        {
            ObjectDisposedException.ThrowIf(_closed, this);
            return [.. _disposables];
        }
    }

    public int DisposablesCount
    {
        get
        {
            ObjectDisposedException.ThrowIf(_closed, this);
            return _disposables.Count;
        }
    }

    public bool Contains(IDisposable disposable) => _disposables.Contains(disposable);

    public T MoveToOuter<T>(T disposable)
        where T : IDisposable
        => MoveToOther(OuterScope, disposable);

    public void MoveToOuter(params IDisposable[] disposables) => MoveToOuter((IEnumerable<IDisposable>)disposables);

    public void MoveToOuter(IEnumerable<IDisposable> disposables) => MoveToOther(OuterScope, disposables);

    public T MoveToOther<T>(DisposeScope? scope, T disposable)
        where T : IDisposable
    {
        MoveToOther(scope, [disposable]);
        return disposable;
    }

    /// <summary>Those that are not in this scope stay where they are. No scope to move to: detaches.</summary>
    public void MoveToOther(DisposeScope? scope, IEnumerable<IDisposable> disposables)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        foreach (IDisposable disposable in disposables)
        {
            if (!_disposables.Remove(disposable))
                continue;
            Owner(disposable) = null;
            scope?.Attach(disposable);
        }
    }

    public T Detach<T>(T disposable)
        where T : IDisposable
        => MoveToOther(null, disposable);

    public void Detach(params IDisposable[] disposables) => Detach((IEnumerable<IDisposable>)disposables);

    public void Detach(IEnumerable<IDisposable> disposables) => MoveToOther(null, disposables);

    /// <summary>Takes a tensor in, out of the scope that it was in.</summary>
    public void Attach(IDisposable disposable)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        ref DisposeScope? owner = ref Owner(disposable);
        if (ReferenceEquals(owner, this))
            return;
        owner?._disposables.Remove(disposable);
        owner = this;
        _disposables.Add(disposable);
    }

    public void Attach(params IDisposable[] disposables)
    {
        foreach (IDisposable disposable in disposables)
            Attach(disposable);
    }

    public void DisposeEverything() => DisposeEverythingBut([]);

    public void DisposeEverythingBut(IEnumerable<IDisposable> inKeep)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        HashSet<IDisposable> all = _disposables;
        _disposables = new(inKeep, ReferenceEqualityComparer.Instance);
        foreach (IDisposable disposable in all)
        {
            if (!_disposables.Contains(disposable))
                disposable.Dispose();
        }
    }

    public T DisposeEverythingBut<T>(T keep)
        where T : IDisposable
    {
        DisposeEverythingBut([keep]);
        return keep;
    }

    public void Dispose()
    {
        if (_closed)
            return;
        DisposeEverything();
        _closed = true;
        Leave();
    }

    internal static DisposeScope Begin() => t_current = new DisposeScope(t_current);

    /// <summary>Puts a new tensor into the innermost scope of this thread.</summary>
    internal static void Register(torch.Tensor tensor) => t_current?.Attach(tensor);

    /// <summary>Forgets a tensor that is being disposed.</summary>
    internal void Remove(torch.Tensor tensor)
    {
        _disposables.Remove(tensor);
        tensor.OwningDisposeScope = null;
    }

    private static ref DisposeScope? Owner(IDisposable disposable) => ref (disposable as torch.Tensor
        ?? throw new InvalidOperationException($"a dispose scope owns tensors only, not a {disposable.GetType().Name}")).OwningDisposeScope;

    /// <summary>Scopes may end in any order; those between this one and the innermost stay.</summary>
    private void Leave()
    {
        if (ReferenceEquals(t_current, this))
        {
            t_current = OuterScope;
            return;
        }
        for (DisposeScope? scope = t_current; scope is not null; scope = scope.OuterScope)
        {
            if (ReferenceEquals(scope.OuterScope, this))
            {
                scope.OuterScope = OuterScope;
                return;
            }
        }
    }
}
