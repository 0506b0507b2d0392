using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Generation;

/// <summary>A prefix of a SID that is being followed.</summary>
/// <param name="Node">Its node, by index within the level.</param>
/// <param name="Score">Sum of the log-probabilities of its codes.</param>
/// <param name="Parent">Beam of the level before that it goes on from.</param>
internal readonly record struct Beam(int Node, double Score, int Parent);

/// <summary>
/// The beams of one user, level by level: those of the current level, and the best of what is offered for the next. Kept are the W largest scores; of equal ones the smaller nodes, which are the
/// lexicographically smaller SIDs. No two offers have the same node, so that the order is total and what is kept does not depend on the order of the offers. Reused for one user after the other
/// without new memory.
/// </summary>
internal sealed class SidBeams
{
    /// <summary>Slot of a beam that no sequence holds.</summary>
    public const int kNoSlot = -1;

    private readonly int _width, _levels;
    // The worst comes out first: the smaller score, of equal ones the larger node.
    private readonly PriorityQueue<(Beam Beam, ushort Code), (double Score, int Order)> _offers;
    private Beam[] _beams, _spareBeams;
    private ushort[] _paths, _sparePaths;
    private int[] _slots, _parentSlots;
    private readonly bool[] _taken;

    /// <summary>Sets memory aside.</summary>
    /// <param name="width">W, most beams of a level.</param>
    /// <param name="levels">L.</param>
    public SidBeams(int width, int levels)
    {
        (_width, _levels) = (width, levels);
        _offers = new(width + 1);
        (_beams, _spareBeams) = (new Beam[width], new Beam[width]);
        (_paths, _sparePaths) = (new ushort[(long)width * levels], new ushort[(long)width * levels]);
        (_slots, _parentSlots) = (new int[width], new int[width]);
        _taken = new bool[width];
        Masked = null!;
        Start(null!);
    }

    /// <summary>Nodes that no beam may enter.</summary>
    public MaskedNodes Masked { get; private set; }

    /// <summary>Codes of every beam.</summary>
    public int Level { get; private set; }

    /// <summary>Number of beams.</summary>
    public int Count { get; private set; }

    /// <summary>The beams, best first.</summary>
    public Beam this[int beam] => _beams[beam];

    /// <summary>Codes of a beam, [<see cref="Level"/>].</summary>
    public ReadOnlySpan<ushort> Path(int beam) => _paths.AsSpan(beam * _levels, Level);

    /// <summary>Slot whose sequence holds a beam once it was read, or <see cref="kNoSlot"/>.</summary>
    public int Slot(int beam) => _slots[beam];

    /// <summary>Slot whose sequence holds what a beam goes on from, or <see cref="kNoSlot"/>.</summary>
    public int ParentSlot(int beam) => _beams[beam].Parent < 0 ? kNoSlot : _parentSlots[_beams[beam].Parent];

    /// <summary>One beam, the empty prefix.</summary>
    public void Start(MaskedNodes masked)
    {
        Masked = masked;
        Level = 0;
        Count = 1;
        _beams[0] = new Beam(TrieNode.Root.Index, 0, -1);
        _slots[0] = kNoSlot;
        _offers.Clear();
    }

    /// <summary>Offers a beam for the next level.</summary>
    public void Offer(int node, double score, int parent, ushort code)
    {
        if (_offers.Count < _width)
            _offers.Enqueue((new Beam(node, score, parent), code), (score, -node));
        else
            _offers.EnqueueDequeue((new Beam(node, score, parent), code), (score, -node));
    }

    /// <summary>Goes on to the best of what was offered; none of them has a slot yet.</summary>
    public void Advance()
    {
        (_beams, _spareBeams) = (_spareBeams, _beams);
        (_paths, _sparePaths) = (_sparePaths, _paths);
        (_slots, _parentSlots) = (_parentSlots, _slots);
        Count = _offers.Count;
        for (int beam = Count - 1; beam >= 0; beam--)
        {
            (_beams[beam], ushort code) = _offers.Dequeue();
            _sparePaths.AsSpan(_beams[beam].Parent * _levels, Level).CopyTo(_paths.AsSpan(beam * _levels));
            _paths[(beam * _levels) + Level] = code;
            _slots[beam] = kNoSlot;
        }
        Level++;
    }

    /// <summary>
    /// Gives each beam a slot of its own, 0 … W − 1. The best child of a held parent goes on in its parent's slot; the others get slots that no child goes on in, for the caller to copy into before
    /// anything is read.
    /// </summary>
    public void Place()
    {
        Array.Clear(_taken);
        for (int beam = 0; beam < Count; beam++)
        {
            int slot = ParentSlot(beam);
            if (slot == kNoSlot || _taken[slot])
                continue;
            _slots[beam] = slot;
            _taken[slot] = true;
        }
        int free = 0;
        for (int beam = 0; beam < Count; beam++)
        {
            if (_slots[beam] != kNoSlot)
                continue;
            while (_taken[free])
                free++;
            _slots[beam] = free++;
        }
    }
}
