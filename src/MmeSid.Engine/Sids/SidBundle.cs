using System.Security.Cryptography;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Quantization;

namespace MmeSid.Engine.Sids;

/// <summary>What a bundle holds, before it is written.</summary>
public sealed record BundleContent
{
    /// <summary>What made the codes.</summary>
    public required Quantizer Quantizer { get; init; }

    /// <summary>The learned encoder between the rows and the quantizer: of rq-vae, mm-rq-vae and hvq, and of no other kind.</summary>
    public EncoderNetwork? Encoder { get; init; }

    /// <summary>How raw tables became rows; its dimension is the encoder's where there is one, else the quantizer's.</summary>
    public required Preprocessing Preprocessing { get; init; }

    /// <summary>The n items.</summary>
    public required ItemIds Items { get; init; }

    /// <summary>Raw codes, [n, L].</summary>
    public required SidTable Codes { get; init; }

    /// <summary>Settled SIDs, [n, L], or [n, L + 1] under <see cref="CollisionPolicy.ExtraDigit"/>.</summary>
    public required SidTable Sids { get; init; }

    /// <summary>How collisions were settled.</summary>
    public CollisionPolicy Collisions { get; init; }

    /// <summary>How resettling chose.</summary>
    public SettlingMethod Settling { get; init; }

    /// <summary>The tables that items came from.</summary>
    public IReadOnlyList<BundleInput> Inputs { get; init; } = [];

    /// <summary>How the quantizer was trained, for people and for warm starts.</summary>
    public IReadOnlyDictionary<string, string> Options { get; init; } = new Dictionary<string, string>();

    /// <summary>Numbers to keep with it; all finite.</summary>
    public IReadOnlyDictionary<string, double> Metrics { get; init; } = new Dictionary<string, double>();
}

/// <summary>
/// An opened bundle: a folder with <c>manifest.json</c>, <c>codebooks.safetensors</c> (<c>codebook.0</c> …, float32 [K, d], PSRQ's later
/// levels [K, 2d] residual half first, PQ and OPQ [K, d/L]; <c>rotation</c> [d, d] under OPQ), of rq-vae, mm-rq-vae and hvq <c>encoder.safetensors</c>
/// (<see cref="EncoderNetwork"/>), <c>codes.npy</c> (raw codes, uint16 [n, L]), <c>sids.npy</c> (settled SIDs, uint16 [n, L or L + 1]) and <c>items.txt</c> (one id per line). Immutable; reading is thread-safe.
/// </summary>
public sealed class SidBundle
{
    /// <summary>Name of the file that makes a folder a bundle.</summary>
    public const string ManifestName = "manifest.json";

    private const string kCodebooks = "codebooks.safetensors";
    private const string kEncoder = "encoder.safetensors";
    private const string kCodes = "codes.npy";
    private const string kSids = "sids.npy";
    private const string kItems = "items.txt";
    private const long kMaximumManifestBytes = 1 << 26;

    private readonly Lazy<SidTrie> _trie;

    private SidBundle(string folder, string fingerprint, BundleManifest manifest, Quantizer quantizer, EncoderNetwork? encoder, ItemIds items, SidTable codes, SidTable sids)
    {
        Folder = folder;
        Fingerprint = fingerprint;
        Manifest = manifest;
        Quantizer = quantizer;
        Encoder = encoder;
        Items = items;
        Codes = codes;
        Sids = sids;
        _trie = new Lazy<SidTrie>(() => SidTrie.Build(sids));
    }

    /// <summary>Path as given.</summary>
    public string Folder { get; }

    /// <summary>SHA-256 of the manifest, which holds those of all other files: what later stages note down and compare.</summary>
    public string Fingerprint { get; }

    /// <summary>The fingerprint of the bundle that a folder holds now.</summary>
    /// <exception cref="IOException">The manifest cannot be read.</exception>
    public static string FingerprintOf(string folder) => FingerprintOf(File.ReadAllBytes(Path.Combine(folder, ManifestName)));

    private static string FingerprintOf(byte[] manifest) => Convert.ToHexStringLower(SHA256.HashData(manifest));

    /// <summary>What the manifest says.</summary>
    public BundleManifest Manifest { get; }

    /// <summary>What made the codes.</summary>
    public Quantizer Quantizer { get; }

    /// <summary>The learned encoder between the rows and the quantizer; null where the rows themselves are quantized.</summary>
    public EncoderNetwork? Encoder { get; }

    /// <summary>Length of the rows x that get codes: the encoder's input where there is one, else the quantizer's dimension.</summary>
    public int InputDimension => Encoder?.InputDimension ?? Quantizer.Dimension;

    /// <summary>How raw tables become rows.</summary>
    public Preprocessing Preprocessing => Manifest.Preprocessing;

    /// <summary>The items by row.</summary>
    public ItemIds Items { get; }

    /// <summary>Raw codes, [n, L].</summary>
    public SidTable Codes { get; }

    /// <summary>Settled SIDs, [n, <see cref="Levels"/>].</summary>
    public SidTable Sids { get; }

    /// <summary>Number of items, n.</summary>
    public long Count => Codes.Count;

    /// <summary>Codes per settled SID.</summary>
    public int Levels => Sids.Levels;

    /// <summary>The settled SIDs as a trie; built when first asked for.</summary>
    public SidTrie Trie => _trie.Value;

    /// <summary>The settled SID of an item. False when the bundle has no such item.</summary>
    public bool TryFindSid(string item, out ReadOnlySpan<ushort> sid)
    {
        bool found = Items.TryFind(item, out long row);
        sid = found ? Sids[row] : default;
        return found;
    }

    /// <summary>Ids of the items whose SID is, or starts with, <paramref name="prefix"/>, in order of SID.</summary>
    public IReadOnlyList<string> ItemsOf(ReadOnlySpan<ushort> prefix)
    {
        ReadOnlySpan<int> rows = Trie.Items(prefix);
        var items = new string[rows.Length];
        for (int i = 0; i < items.Length; i++)
            items[i] = Items[rows[i]];
        return items;
    }

    /// <summary>
    /// The vector that a SID stands for, [d]: <see cref="Quantizer.Reconstruct"/> of its first L codes (an extra digit carries no position). Behind a learned
    /// encoder it lies in the code space.
    /// </summary>
    /// <exception cref="ArgumentException">Not a SID of this bundle: another number of codes, or a code that its level lacks.</exception>
    public float[] Vector(ReadOnlySpan<ushort> sid)
    {
        if (sid.Length != Levels && sid.Length != Quantizer.Levels)
            throw new ArgumentException($"SID {SidText.Numbers(sid)} has {sid.Length} codes, expected {Levels}", nameof(sid));
        var row = new float[Quantizer.Dimension];
        Quantizer.Reconstruct(sid[..Quantizer.Levels], row);
        return row;
    }

    /// <summary>The content, to write a changed bundle from.</summary>
    public BundleContent ToContent() => new()
    {
        Quantizer = Quantizer,
        Encoder = Encoder,
        Preprocessing = Preprocessing,
        Items = Items,
        Codes = Codes,
        Sids = Sids,
        Collisions = Manifest.Collisions,
        Settling = Manifest.Settling,
        Inputs = Manifest.Inputs,
        Options = Manifest.Options,
        Metrics = Manifest.Metrics,
    };

    /// <summary>Whether a folder is a bundle (has a manifest).</summary>
    public static bool IsBundle(string folder) => File.Exists(Path.Combine(folder, ManifestName));

    /// <summary>
    /// The bundles of a folder of bundles (<c>B/text</c>, <c>B/audio</c>, <c>B/joint</c>) by name, in ordinal order; of a bundle itself, that one under the name "".
    /// </summary>
    /// <exception cref="InvalidDataException">The folder neither is nor holds a bundle.</exception>
    public static IReadOnlyList<(string Name, string Folder)> List(string folder)
    {
        if (IsBundle(folder))
            return [("", folder)];
        if (!Directory.Exists(folder))
            throw new DirectoryNotFoundException($"{folder}: no such folder");
        (string Name, string Folder)[] bundles = Bundles(folder);
        return bundles.Length > 0 ? bundles : throw new InvalidDataException($"{folder}: is no bundle and holds none, expected a folder with {ManifestName}");
    }

    private static (string Name, string Folder)[] Bundles(string folder) => [.. Directory.EnumerateDirectories(folder).Where(IsBundle)
        .Select(path => (Name: Path.GetFileName(path), path)).Where(entry => !entry.Name.StartsWith('.')).OrderBy(entry => entry.Name, StringComparer.Ordinal)];

    /// <summary>Opens a bundle: reads everything and verifies the manifest's hashes and shapes.</summary>
    /// <exception cref="InvalidDataException">The folder is no bundle, a file is missing, was altered (named), or does not fit the manifest.</exception>
    /// <exception cref="DirectoryNotFoundException">No such folder.</exception>
    public static SidBundle Open(string folder)
    {
        if (!Directory.Exists(folder))
            throw new DirectoryNotFoundException($"{folder}: no such folder");
        string manifestPath = Path.Combine(folder, ManifestName);
        if (!File.Exists(manifestPath))
        {
            string[] names = [.. Bundles(folder).Select(bundle => bundle.Name)];
            throw new InvalidDataException(names.Length == 0
                ? $"{folder}: is no bundle, it has no {ManifestName}"
                : $"{folder}: is a folder of bundles ({string.Join(", ", names)}), expected one of them, such as {Path.Combine(folder, names[0])}");
        }
        if (new FileInfo(manifestPath).Length > kMaximumManifestBytes)
            throw new InvalidDataException($"{manifestPath}: has more than {kMaximumManifestBytes} bytes, no manifest is that long");
        byte[] manifestBytes = File.ReadAllBytes(manifestPath);
        var manifest = BundleManifest.Parse(manifestBytes, manifestPath);
        VerifyFiles(folder, manifestPath, manifest);

        Quantizer quantizer = ReadQuantizer(Path.Combine(folder, kCodebooks), manifest);
        EncoderNetwork? encoder = manifest.Encoder is null ? null : EncoderNetwork.Read(Path.Combine(folder, kEncoder), manifest.Encoder, quantizer.Levels);
        try
        {
            RequireFit(quantizer, encoder, manifest.Preprocessing);
        }
        catch (ArgumentException problem)
        {
            throw new InvalidDataException($"{manifestPath}: {problem.Message.Replace($" (Parameter '{problem.ParamName}')", "", StringComparison.Ordinal)}", problem);
        }
        int sidLevels = quantizer.Levels + (manifest.Collisions == CollisionPolicy.ExtraDigit ? 1 : 0);
        if (manifest.SidLevels != sidLevels)
            throw new InvalidDataException($"{manifestPath}: sids.levels is {manifest.SidLevels}, expected {sidLevels}");
        SidTable codes = ReadSids(Path.Combine(folder, kCodes), manifest.Items, quantizer.Levels, quantizer);
        SidTable sids = ReadSids(Path.Combine(folder, kSids), manifest.Items, sidLevels, quantizer);
        string itemsPath = Path.Combine(folder, kItems);
        ItemIds items = ItemIds.ReadFile(itemsPath);
        if (items.Count != manifest.Items)
            throw new InvalidDataException($"{itemsPath}: names {items.Count} items, expected {manifest.Items}");
        return new SidBundle(folder, FingerprintOf(manifestBytes), manifest, quantizer, encoder, items, codes, sids);
    }

    /// <summary>Writes a bundle; the folder appears whole or not at all. Equal content gives equal bytes.</summary>
    /// <param name="folder">Final path; the folder that holds it must exist.</param>
    /// <param name="content">What to write.</param>
    /// <param name="force">Replace an existing bundle.</param>
    /// <exception cref="ArgumentException">Parts of the content do not fit each other.</exception>
    /// <exception cref="IOException">The path exists without <paramref name="force"/>, or cannot be written.</exception>
    public static void Write(string folder, BundleContent content, bool force)
    {
        using var output = OutputFolder.Create(folder, force, ManifestName);
        Write(output, content);
    }

    /// <summary>Writes a bundle into a folder that was opened before the work began, so that a bad path is found first. Commits it.</summary>
    public static void Write(OutputFolder output, BundleContent content)
    {
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(content);
        Check(content);
        Quantizer quantizer = content.Quantizer;
        int levels = quantizer.Levels;
        var tensors = new List<SafetensorsTensor>();
        for (int level = 0; level < levels; level++)
            tensors.Add(SafetensorsTensor.From($"codebook.{level}", quantizer.Codewords(level), quantizer.CodeCount(level), quantizer.CodewordWidth(level)));
        if (quantizer.Rotation is { } rotation)
            tensors.Add(SafetensorsTensor.From<float>("rotation", rotation, quantizer.Dimension, quantizer.Dimension));
        WriteFile(output, kCodebooks, stream => SafetensorsFile.Write(stream, tensors));
        if (content.Encoder is not null)
            WriteFile(output, kEncoder, content.Encoder.Write);
        WriteFile(output, kCodes, stream => NpyFile.Write(stream, content.Codes.Codes, content.Codes.Count, levels));
        WriteFile(output, kSids, stream => NpyFile.Write(stream, content.Sids.Codes, content.Sids.Count, content.Sids.Levels));
        WriteFile(output, kItems, content.Items.Write);

        var manifest = new BundleManifest
        {
            Kind = quantizer.Kind,
            Dimension = quantizer.Dimension,
            CodeCounts = [.. Enumerable.Range(0, levels).Select(quantizer.CodeCount)],
            Options = content.Options,
            Preprocessing = content.Preprocessing,
            Encoder = content.Encoder?.Description,
            Items = content.Codes.Count,
            SidLevels = content.Sids.Levels,
            Collisions = content.Collisions,
            Settling = content.Settling,
            Inputs = content.Inputs,
            Metrics = content.Metrics,
            Files = FileNames(content.Encoder is not null).ToDictionary(name => name, name => Describe(Path.Combine(output.Path, name))),
        };
        WriteFile(output, ManifestName, manifest.Write);
        output.Commit();
    }

    private static void Check(BundleContent content)
    {
        Quantizer quantizer = content.Quantizer;
        CollisionSettling.CheckCodes(content.Codes, quantizer);
        int sidLevels = quantizer.Levels + (content.Collisions == CollisionPolicy.ExtraDigit ? 1 : 0);
        if (content.Sids.Levels != sidLevels)
            throw new ArgumentException($"the SIDs have {content.Sids.Levels} levels, expected {sidLevels} under {CollisionName.Of(content.Collisions)}", nameof(content));
        if (content.Sids.Count != content.Codes.Count || content.Items.Count != content.Codes.Count)
            throw new ArgumentException($"{content.Items.Count} items, {content.Codes.Count} rows of codes and {content.Sids.Count} SIDs, expected as many of each", nameof(content));
        RequireFit(quantizer, content.Encoder, content.Preprocessing);
        foreach ((string name, double value) in content.Metrics)
        {
            if (!double.IsFinite(value))
                throw new ArgumentException($"metric {name} is {value}, expected a finite number", nameof(content));
        }
    }

    /// <summary>Refuses an encoder where none belongs or none where one does, and rows of another length than the encoder or the quantizer takes.</summary>
    private static void RequireFit(Quantizer quantizer, EncoderNetwork? encoder, Preprocessing preprocessing)
    {
        if (encoder is not null)
            encoder.RequireFit(quantizer, preprocessing);
        else if (quantizer.Kind.IsLearned())
            throw new ArgumentException($"{QuantizerName.Of(quantizer.Kind)} needs an encoder", nameof(encoder));
        else if (preprocessing.Dimension != quantizer.Dimension)
            throw new ArgumentException($"the preprocessing makes rows of dimension {preprocessing.Dimension}, the quantizer has {quantizer.Dimension}", nameof(preprocessing));
    }

    /// <summary>The files of a bundle beside its manifest.</summary>
    private static string[] FileNames(bool hasEncoder) => hasEncoder ? [kCodebooks, kEncoder, kCodes, kItems, kSids] : [kCodebooks, kCodes, kItems, kSids];

    private static void WriteFile(OutputFolder output, string name, Action<Stream> write)
    {
        using var stream = new FileStream(Path.Combine(output.Path, name), FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16);
        write(stream);
    }

    private static BundleFile Describe(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
        return new BundleFile(stream.Length, Convert.ToHexStringLower(SHA256.HashData(stream)));
    }

    private static void VerifyFiles(string folder, string manifestPath, BundleManifest manifest)
    {
        string[] names = FileNames(manifest.Encoder is not null);
        foreach (string name in manifest.Files.Keys)
        {
            if (!names.Contains(name))
                throw new InvalidDataException($"{manifestPath}: names a file '{name}', expected {string.Join(", ", names)}");
        }
        foreach (string name in names)
        {
            if (!manifest.Files.TryGetValue(name, out BundleFile? expected))
                throw new InvalidDataException($"{manifestPath}: lacks files.{name}");
            string path = Path.Combine(folder, name);
            if (!File.Exists(path))
                throw new InvalidDataException($"{path}: is missing from the bundle");
            BundleFile found = Describe(path);
            if (found.Bytes != expected.Bytes)
                throw new InvalidDataException($"{path}: was altered: it has {found.Bytes} bytes, the manifest says {expected.Bytes}");
            if (!string.Equals(found.Sha256, expected.Sha256, StringComparison.OrdinalIgnoreCase))
                throw new InvalidDataException($"{path}: was altered: its SHA-256 is {found.Sha256}, the manifest says {expected.Sha256}");
        }
    }

    private static Quantizer ReadQuantizer(string path, BundleManifest manifest)
    {
        using var file = SafetensorsFile.Open(path);
        var codebooks = new float[manifest.CodeCounts.Count][];
        for (int level = 0; level < codebooks.Length; level++)
            codebooks[level] = file.Read<float>($"codebook.{level}");
        Quantizer quantizer;
        try
        {
            quantizer = new Quantizer(manifest.Kind, manifest.Dimension, codebooks, file.Tensors.ContainsKey("rotation") ? file.Read<float>("rotation") : null);
        }
        catch (ArgumentException problem)
        {
            throw new InvalidDataException($"{path}: {problem.Message}", problem);
        }
        for (int level = 0; level < codebooks.Length; level++)
        {
            IReadOnlyList<long> shape = file.Entry($"codebook.{level}").Shape;
            if (!shape.SequenceEqual([manifest.CodeCounts[level], quantizer.CodewordWidth(level)]))
                throw new InvalidDataException($"{path}: codebook.{level} has shape ({string.Join(", ", shape)}), expected ({manifest.CodeCounts[level]}, {quantizer.CodewordWidth(level)})");
        }
        return quantizer;
    }

    private static SidTable ReadSids(string path, long items, int levels, Quantizer quantizer)
    {
        NpyArray<ushort> array = NpyFile.Read<ushort>(path);
        if (!array.Shape.SequenceEqual([items, levels]))
            throw new InvalidDataException($"{path}: shape ({string.Join(", ", array.Shape)}), expected ({items}, {levels})");
        for (int i = 0; i < array.Values.Length; i++)
        {
            int level = i % levels;
            if (level < quantizer.Levels && array.Values[i] >= quantizer.CodeCount(level))
                throw new InvalidDataException($"{path}: row {i / levels}, level {level} has code {array.Values[i]}, expected less than {quantizer.CodeCount(level)}");
        }
        return new SidTable(levels, array.Values);
    }
}
