namespace MmeSid.Bench;

/// <summary>Runs PyTorch on the same GPU through <c>torch_encode.py</c>.</summary>
internal sealed class TorchPeer
{
    private readonly PeerScript _script;

    /// <summary>Looks for the script, beside a published program or in the repository, and for a Python whose PyTorch sees a GPU.</summary>
    public TorchPeer(string? repository)
    {
        const string Name = "torch_encode.py";
        string folder = repository is null ? AppContext.BaseDirectory : Path.Combine(repository, "bench");
        _script = new PeerScript(Path.Combine(folder, "peers", Name), "import torch, numpy; assert torch.cuda.is_available()");
    }

    /// <summary>Whether there is one to run.</summary>
    public bool IsPresent => _script.IsPresent;

    /// <summary>Runs a job; see the script.</summary>
    public IEnumerable<PeerTime> Run(Dictionary<string, object> job) => _script.Run(job, new Dictionary<string, string>());
}
