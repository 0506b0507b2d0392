using System.Collections.Concurrent;
using System.Text.Json;

namespace MmeSid.Kernels.Cuda;

/// <summary>
/// Which of an arithmetic's screens is fastest for a shape, as <see cref="CudaTuner"/> measured it: a file per GPU model and driver under the
/// user's cache folder. Shapes between the measured ones take what their nearest neighbour took; without a file the defaults serve.
/// </summary>
internal sealed class TileCache
{
    // A factor of 4 in depth times codes: beyond, a measurement says nothing.
    private const double kFarthest = 2;

    private static readonly ConcurrentDictionary<string, Lazy<TileCache>> s_caches = new();

    private readonly IReadOnlyList<Entry> _entries;

    private TileCache(IReadOnlyList<Entry> entries) => _entries = entries;

    /// <summary>What was measured for this model and driver.</summary>
    public static TileCache Of(CudaDevice device) => s_caches.GetOrAdd(FileOf(device), file => new(() => Read(file))).Value;

    /// <summary>Where it is kept: $XDG_CACHE_HOME or ~/.cache; %LOCALAPPDATA% on Windows.</summary>
    public static string FileOf(CudaDevice device)
    {
        string root = Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } named ? named
            : OperatingSystem.IsWindows() ? Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData)
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
        string name = string.Concat($"{device.Name}-{device.CapabilityMajor}.{device.CapabilityMinor}-driver-{device.DriverVersion}".Select(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' ? c : '_'));
        return Path.Combine(root, "mmesid", "tiles", name + ".json");
    }

    /// <summary>Reads a file; one that is missing or broken is as good as none.</summary>
    public static TileCache Read(string file)
    {
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(file));
            return new([.. document.RootElement.GetProperty("tiles").EnumerateArray().Select(tile => new Entry(
                Cuda.Screen.Named(tile.GetProperty("kernel").GetString()!), tile.GetProperty("depth").GetInt32(), tile.GetProperty("codes").GetInt32()))]);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            return new([]);
        }
    }

    /// <summary>Adds measurements to a file; they replace earlier ones of the same arithmetic and shape.</summary>
    public static void Add(string file, IReadOnlyList<Entry> entries) =>
        Write(file, [.. Read(file)._entries.Where(old => !entries.Any(entry => (entry.Screen.Kind, entry.Depth, entry.Codes) == (old.Screen.Kind, old.Depth, old.Codes))), .. entries]);

    /// <summary>Replaces a file, at once or not at all.</summary>
    public static void Write(string file, IEnumerable<Entry> entries)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        string unfinished = $"{file}.{Environment.ProcessId}";
        using (FileStream stream = File.Create(unfinished))
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteStartArray("tiles");
            foreach (Entry entry in entries)
            {
                json.WriteStartObject();
                json.WriteString("kernel", entry.Screen.Name);
                json.WriteNumber("depth", entry.Depth);
                json.WriteNumber("codes", entry.Codes);
                json.WriteEndObject();
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        File.Move(unfinished, file, overwrite: true);
        s_caches.TryRemove(file, out _);
    }

    /// <summary>The screen for a level.</summary>
    /// <param name="kind">Its arithmetic.</param>
    /// <param name="depth">Values of an operand.</param>
    /// <param name="codes">K, padded.</param>
    public Screen Screen(ScreenKind kind, int depth, int codes)
    {
        Entry? nearest = _entries.Where(entry => entry.Screen.Kind == kind && codes % entry.Screen.Codes == 0).MinBy(Distance);
        return nearest is not null && Distance(nearest) <= kFarthest ? nearest.Screen : Cuda.Screen.Default(kind);

        double Distance(Entry entry) => Math.Abs(Math.Log2((double)entry.Depth / depth)) + Math.Abs(Math.Log2((double)entry.Codes / codes));
    }

    /// <summary>The fastest screen of its arithmetic for a shape.</summary>
    internal sealed record Entry(Screen Screen, int Depth, int Codes);
}
