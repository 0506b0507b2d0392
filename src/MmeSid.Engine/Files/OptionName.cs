using System.Text;

namespace MmeSid.Engine.Files;

/// <summary>Names of choices as the command line and models write them: <c>ModalityCodes</c> is <c>modality-codes</c>.</summary>
public static class OptionName
{
    /// <summary>The name of a choice.</summary>
    public static string Of<T>(T choice)
        where T : struct, Enum
    {
        var name = new StringBuilder();
        foreach (char letter in choice.ToString())
        {
            if (char.IsUpper(letter) && name.Length > 0)
                name.Append('-');
            name.Append(char.ToLowerInvariant(letter));
        }
        return name.ToString();
    }

    /// <summary>Names of all choices.</summary>
    public static string[] All<T>()
        where T : struct, Enum => [.. Enum.GetValues<T>().Select(Of)];

    /// <summary>The choice of a name, or null where there is none.</summary>
    public static T? Parse<T>(string name)
        where T : struct, Enum
    {
        foreach (T choice in Enum.GetValues<T>())
        {
            if (Of(choice) == name)
                return choice;
        }
        return null;
    }
}
