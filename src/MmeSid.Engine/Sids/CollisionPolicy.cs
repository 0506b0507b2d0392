namespace MmeSid.Engine.Sids;

/// <summary>What happens to items whose codes are equal.</summary>
public enum CollisionPolicy
{
    /// <summary>Nothing: they share a SID.</summary>
    None,

    /// <summary>One more level numbers the items that share all codes, 0, 1, … in item order.</summary>
    ExtraDigit,

    /// <summary>All but one move to a free SID near their own.</summary>
    Resettle,
}

/// <summary>How <see cref="CollisionPolicy.Resettle"/> chooses among the items of one prefix.</summary>
public enum SettlingMethod
{
    /// <summary>The least total cost over the items of the prefix (assignment problem); an item without a collision may give way.</summary>
    Optimal,

    /// <summary>The first item of each SID keeps it; the others, in item order, move to their nearest free code.</summary>
    Greedy,
}

/// <summary>The names of policies and methods in manifests and on the command line.</summary>
public static class CollisionName
{
    private static readonly (CollisionPolicy Policy, string Name)[] s_policies =
        [(CollisionPolicy.None, "none"), (CollisionPolicy.ExtraDigit, "extra-digit"), (CollisionPolicy.Resettle, "resettle")];

    private static readonly (SettlingMethod Method, string Name)[] s_methods =
        [(SettlingMethod.Optimal, "optimal"), (SettlingMethod.Greedy, "greedy")];

    /// <summary>Names of the policies.</summary>
    public static IReadOnlyList<string> Policies { get; } = Array.ConvertAll(s_policies, entry => entry.Name);

    /// <summary>Names of the settling methods.</summary>
    public static IReadOnlyList<string> Methods { get; } = Array.ConvertAll(s_methods, entry => entry.Name);

    /// <summary><c>none</c>, <c>extra-digit</c> or <c>resettle</c>.</summary>
    public static string Of(CollisionPolicy policy) => Array.Find(s_policies, entry => entry.Policy == policy).Name
        ?? throw new ArgumentException($"{(int)policy} is no collision policy", nameof(policy));

    /// <summary><c>optimal</c> or <c>greedy</c>.</summary>
    public static string Of(SettlingMethod method) => Array.Find(s_methods, entry => entry.Method == method).Name
        ?? throw new ArgumentException($"{(int)method} is no settling method", nameof(method));

    /// <summary>The policy of a name.</summary>
    /// <exception cref="ArgumentException">The name is unknown; the message lists those that exist.</exception>
    public static CollisionPolicy ParsePolicy(string name)
    {
        int index = Array.FindIndex(s_policies, entry => entry.Name == name);
        return index >= 0 ? s_policies[index].Policy : throw new ArgumentException($"unknown collision policy '{name}', expected one of {string.Join(", ", Policies)}", nameof(name));
    }

    /// <summary>The settling method of a name.</summary>
    /// <exception cref="ArgumentException">The name is unknown; the message lists those that exist.</exception>
    public static SettlingMethod ParseMethod(string name)
    {
        int index = Array.FindIndex(s_methods, entry => entry.Name == name);
        return index >= 0 ? s_methods[index].Method : throw new ArgumentException($"unknown settling method '{name}', expected one of {string.Join(", ", Methods)}", nameof(name));
    }
}
