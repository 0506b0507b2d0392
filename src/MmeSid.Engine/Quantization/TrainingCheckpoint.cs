using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Quantization;

/// <summary>
/// The file a stopped training goes on from. Little-endian: magic, key, state, then the SHA-256 of all before it. The key is a hash over the options and
/// the table's fingerprint, so that a file of another run is refused. Written atomically.
/// </summary>
internal sealed class TrainingCheckpoint(string path, string key, TimeSpan interval)
{
    private const string kMagic = "mmesid training checkpoint 1";
    private long _lastSave = Stopwatch.GetTimestamp();

    /// <summary>The key of a run.</summary>
    public static string KeyOf(EmbeddingTable table, TrainingOptions options)
    {
        var text = new StringBuilder();
        void Add(string name, object? value) => text.Append(CultureInfo.InvariantCulture, $"{name}={value}\n");
        Add("table", table.Fingerprint());
        Add("kind", QuantizerName.Of(options.Kind));
        Add("levels", options.Levels);
        Add("codes", string.Join(',', options.Codes));
        Add("seed", options.Seed);
        Add("initialization", options.Initialization);
        Add("iterations", options.Iterations);
        Add("tolerance", options.Tolerance);
        Add("mini-batch", options.MiniBatch);
        Add("dead-code restart", options.DeadCodeRestart);
        Add("sizes", $"{options.MinimumClusterSize} {options.MaximumClusterSize} {options.BalancedClusters}");
        Add("sinkhorn", options.SinkhornLastLevel);
        Add("rows", $"{options.TrainRows} {options.TrainingBytes}");
        Add("beam", options.Beam);
        Add("rotation", $"{options.RotationIterations} {options.RandomRotation}");
        if (options.WarmStart is { } warm)
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            for (int level = 0; level < warm.Levels; level++)
                hash.AppendData(MemoryMarshal.AsBytes(warm.Codewords(level)));
            hash.AppendData(MemoryMarshal.AsBytes<float>(warm.Rotation ?? []));
            Add("warm start", Convert.ToHexStringLower(hash.GetHashAndReset()));
        }
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text.ToString())));
    }

    /// <summary>Finds out before the work begins whether a checkpoint can be written.</summary>
    /// <exception cref="IOException">The path is a folder, or its folder does not exist.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder cannot be written to.</exception>
    public static void RequireWritable(string path)
    {
        using var file = OutputFile.Create(path, force: true);
    }

    /// <summary>Writes the state if the interval has passed since the last time.</summary>
    /// <returns>What <see cref="TrySave"/> returns; null where nothing is due.</returns>
    public string? SaveIfDue(TrainingState state) => Stopwatch.GetElapsedTime(_lastSave) >= interval ? TrySave(state) : null;

    /// <summary>Writes the state; where the system refuses, training is worth more than its checkpoint.</summary>
    /// <returns>Why it could not be written, or null.</returns>
    public string? TrySave(TrainingState state)
    {
        try
        {
            Save(state);
            return null;
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return $"checkpoint not written: {problem.Message}";
        }
        finally
        {
            _lastSave = Stopwatch.GetTimestamp();
        }
    }

    private void Save(TrainingState state)
    {
        using var file = OutputFile.Create(path, force: true);
        using var sha = SHA256.Create();
        using (var hashed = new CryptoStream(file.Stream, sha, CryptoStreamMode.Write, leaveOpen: true))
        {
            using var writer = new BinaryWriter(hashed, Encoding.UTF8, leaveOpen: true);
            writer.Write(kMagic);
            writer.Write(key);
            Write(writer, state);
        }
        file.Stream.Write(sha.Hash!);
        file.Commit();
    }

    /// <summary>Reads the state, or returns null where there is no file.</summary>
    /// <param name="replaceOther">Null for a checkpoint that is damaged or of another run, too; what was never a checkpoint is refused all the same.</param>
    /// <exception cref="InvalidDataException">The file is damaged, no checkpoint, or one of another run.</exception>
    public TrainingState? Load(bool replaceOther)
    {
        if (!File.Exists(path))
            return null;
        try
        {
            return Load();
        }
        catch (InvalidDataException) when (replaceOther && IsCheckpoint())
        {
            return null;
        }
    }

    private bool IsCheckpoint()
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        byte[] start = new byte[1 + kMagic.Length];
        return file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) == start.Length && Encoding.UTF8.GetString(start, 1, kMagic.Length) == kMagic;
    }

    private TrainingState Load()
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
        RequireIntact(file);
        file.Position = 0;
        using var reader = new BinaryReader(file, Encoding.UTF8);
        try
        {
            if (reader.ReadString() != kMagic)
                throw new InvalidDataException($"{path}: is no training checkpoint");
            if (reader.ReadString() != key)
                throw new InvalidDataException($"{path}: checkpoint of another run (other rows or options); delete it or name another file");
            return ReadState(reader);
        }
        catch (Exception problem) when (problem is EndOfStreamException or FormatException or ArgumentException)
        {
            throw new InvalidDataException($"{path}: is no training checkpoint", problem);
        }
    }

    private void RequireIntact(FileStream file)
    {
        long payload = file.Length - SHA256.HashSizeInBytes;
        if (payload < 0)
            throw new InvalidDataException($"{path}: is no training checkpoint ({file.Length} bytes)");
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = new byte[1 << 16];
        for (long left = payload; left > 0;)
        {
            int read = file.Read(buffer, 0, (int)Math.Min(buffer.Length, left));
            if (read == 0)
                throw new InvalidDataException($"{path}: ended early while it was read");
            hash.AppendData(buffer, 0, read);
            left -= read;
        }
        var stored = new byte[SHA256.HashSizeInBytes];
        file.ReadExactly(stored);
        if (!stored.AsSpan().SequenceEqual(hash.GetHashAndReset()))
            throw new InvalidDataException($"{path}: checkpoint is damaged (its checksum does not fit); delete it to start over");
    }

    private static void Write(BinaryWriter writer, TrainingState state)
    {
        WriteArray(writer, state.Rotation);
        writer.Write(state.RotationRounds);
        WriteArrays(writer, state.RotationCodebooks);
        WriteArrays(writer, state.Codebooks);
        writer.Write(state.Current is not null);
        if (state.Current is { } current)
        {
            writer.Write(current.Iteration);
            WriteArray(writer, current.Centroids);
            WriteArray(writer, current.Codes);
            WriteArray(writer, current.Seen);
            writer.Write(current.Objective);
            writer.Write(current.Finished);
        }
        writer.Write(state.History.Count);
        foreach (TrainingIteration iteration in state.History)
        {
            writer.Write(iteration.Level);
            writer.Write(iteration.Iteration);
            writer.Write(iteration.MeanSquaredError);
            writer.Write(iteration.Moved);
            writer.Write(iteration.EmptyCodes);
            writer.Write(iteration.RecheckedShare);
            writer.Write(iteration.Seconds);
        }
    }

    private static TrainingState ReadState(BinaryReader reader)
    {
        var state = new TrainingState
        {
            Rotation = ReadArray<float>(reader),
            RotationRounds = reader.ReadInt32(),
            RotationCodebooks = ReadArrays(reader),
            Codebooks = ReadArrays(reader),
        };
        if (reader.ReadBoolean())
        {
            int iteration = reader.ReadInt32();
            state.Current = new KMeansState(new(ReadArray<float>(reader)), new(ReadArray<ushort>(reader)))
            {
                Iteration = iteration,
                Seen = ReadArray<long>(reader),
                Objective = reader.ReadDouble(),
                Finished = reader.ReadBoolean(),
            };
        }
        for (int left = reader.ReadInt32(); left > 0; left--)
        {
            state.History.Add(new TrainingIteration(
                reader.ReadInt32(), reader.ReadInt32(), reader.ReadDouble(), reader.ReadInt64(), reader.ReadInt32(), reader.ReadDouble(), reader.ReadDouble()));
        }
        return state;
    }

    private static void WriteArrays(BinaryWriter writer, List<float[]> arrays)
    {
        writer.Write(arrays.Count);
        foreach (float[] array in arrays)
            WriteArray(writer, array);
    }

    private static List<float[]> ReadArrays(BinaryReader reader)
    {
        var arrays = new List<float[]>();
        for (int left = reader.ReadInt32(); left > 0; left--)
            arrays.Add(ReadArray<float>(reader));
        return arrays;
    }

    private static void WriteArray<T>(BinaryWriter writer, T[] array)
        where T : unmanaged
    {
        writer.Write(array.Length);
        foreach (ReadOnlyMemory<T> part in Parts(array))
            writer.Write(MemoryMarshal.AsBytes(part.Span));
    }

    // The checksum has vouched for the lengths before anything is allocated by them.
    private static T[] ReadArray<T>(BinaryReader reader)
        where T : unmanaged
    {
        var array = new T[reader.ReadInt32()];
        foreach (Memory<T> part in Parts(array))
            reader.BaseStream.ReadExactly(MemoryMarshal.AsBytes(part.Span));
        return array;
    }

    // A span of bytes over a whole array could exceed 2³¹.
    private static IEnumerable<Memory<T>> Parts<T>(T[] array)
    {
        const int kValuesPerPart = 1 << 20;
        for (int first = 0; first < array.Length; first += kValuesPerPart)
            yield return array.AsMemory(first, Math.Min(kValuesPerPart, array.Length - first));
    }
}
