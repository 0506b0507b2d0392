using System.Reflection;
using TorchSharp.Modules;

namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        /// <summary>A module of one input.</summary>
        public interface IModule<in T, out TResult>
        {
            TResult call(T input1);
        }

        /// <summary>
        /// Owns parameters, buffers and modules by name. <see cref="RegisterComponents"/> takes those in its fields, named as the fields; a module that
        /// is registered registers its own first. Names are listed in the order of registration, own ones before those of modules inside.
        /// </summary>
        public class Module : IDisposable
        {
            private readonly OrderedDictionary<string, Parameter> _parameters = [];
            private readonly OrderedDictionary<string, (Tensor Tensor, bool Persistent)> _buffers = [];
            private readonly OrderedDictionary<string, Module> _modules = [];
            private readonly string _name;
            private bool _registered;

            protected Module(string name) => _name = name;

            public virtual bool training { get; private set; } = true;

            public virtual string GetName() => _name;

            public void Dispose()
            {
                Dispose(true);
                GC.SuppressFinalize(this);
            }

            public virtual void train(bool train = true)
            {
                training = train;
                foreach (Module module in children())
                    module.train(train);
            }

            public virtual void eval() => train(false);

            public virtual Module apply(Action<Module> fn)
            {
                foreach (Module module in children())
                    module.apply(fn);
                fn(this);
                return this;
            }

            public virtual void zero_grad(bool set_to_none = true)
            {
                foreach (Parameter parameter in parameters())
                {
                    if (set_to_none)
                    {
                        parameter.grad = null;
                        continue;
                    }
                    using Tensor? grad = parameter.grad;
                    grad?.zero_();
                }
            }

            public virtual IEnumerable<(string name, Module module)> named_children() => _modules.Select(pair => (pair.Key, pair.Value));

            public virtual IEnumerable<Module> children() => named_children().Select(child => child.module);

            public virtual IEnumerable<(string name, Module module)> named_modules() => named_children()
                .SelectMany(child => child.module.named_modules().Select(inner => ($"{child.name}.{inner.name}", inner.module)).Prepend(child));

            public virtual IEnumerable<Module> modules() => named_modules().Select(entry => entry.module);

            /// <summary>A parameter that several modules share is listed once, under its first name.</summary>
            public virtual IEnumerable<(string name, Parameter parameter)> named_parameters(bool recurse = true) => Once(
                _parameters.Select(pair => (pair.Key, pair.Value)), child => child.named_parameters(), recurse);

            public virtual IEnumerable<Parameter> parameters(bool recurse = true) => named_parameters(recurse).Select(entry => entry.parameter);

            public virtual IEnumerable<(string name, Tensor buffer)> named_buffers(bool recurse = true, bool include_nonpersistent = true) => Once(
                _buffers.Where(pair => include_nonpersistent || pair.Value.Persistent).Select(pair => (pair.Key, pair.Value.Tensor)), child => child.named_buffers(true, include_nonpersistent), recurse);

            public virtual IEnumerable<Tensor> buffers(bool recurse = true, bool include_nonpersistent = true) => named_buffers(recurse, include_nonpersistent).Select(entry => entry.buffer);

            public virtual Parameter? get_parameter(string target) => named_parameters().FirstOrDefault(entry => entry.name == target).parameter;

            public virtual Tensor? get_buffer(string target) => named_buffers().FirstOrDefault(entry => entry.name == target).buffer;

            public virtual void register_parameter(string name, Parameter param)
            {
                ArgumentNullException.ThrowIfNull(param);
                if (!_parameters.TryAdd(name, param))
                    throw new InvalidOperationException($"{GetName()} has a parameter {name} already");
            }

            public virtual void register_buffer(string name, Tensor tensor, bool persistent = true)
            {
                ArgumentNullException.ThrowIfNull(tensor);
                if (!_buffers.TryAdd(name, (tensor, persistent)))
                    throw new InvalidOperationException($"{GetName()} has a buffer {name} already");
            }

            public virtual void register_module(string name, Module submodule)
            {
                ArgumentException.ThrowIfNullOrEmpty(name);
                if (name.Contains('.', StringComparison.Ordinal))
                    throw new ArgumentException($"a module cannot be named '{name}': names hold no point", nameof(name));
                submodule.RegisterComponents();
                if (!_modules.TryAdd(name, submodule))
                    throw new InvalidOperationException($"{GetName()} has a module {name} already");
            }

            public void add_module(string name, Module module) => register_module(name, module);

            /// <summary>Parameters and persistent buffers by name; the tensors themselves, not copies.</summary>
            public virtual Dictionary<string, Tensor> state_dict(Dictionary<string, Tensor>? destination = null, string? prefix = null)
            {
                destination ??= [];
                string before = string.IsNullOrEmpty(prefix) ? "" : prefix + ".";
                foreach ((string name, Tensor tensor) in named_parameters().Select(entry => (entry.name, (Tensor)entry.parameter)).Concat(named_buffers(include_nonpersistent: false)))
                    destination.TryAdd(before + name, tensor);
                return destination;
            }

            /// <summary>Copies values into parameters and buffers.</summary>
            /// <exception cref="InvalidOperationException">Names are missing or unknown, and <paramref name="strict"/>.</exception>
            public virtual (IList<string> missing_keys, IList<string> unexpected_keyes) load_state_dict(Dictionary<string, Tensor> source, bool strict = true, IList<string>? skip = null)
            {
                Dictionary<string, Tensor> destination = state_dict();
                string[] missing = [.. destination.Keys.Except(source.Keys).Except(skip ?? [])];
                string[] unexpected = [.. source.Keys.Except(destination.Keys).Except(skip ?? [])];
                if (strict && missing.Length + unexpected.Length > 0)
                    throw new InvalidOperationException($"{GetName()}: the state lacks [{string.Join(", ", missing)}] and has [{string.Join(", ", unexpected)}], which the module has not");
                using (no_grad())
                {
                    foreach ((string key, Tensor value) in source)
                    {
                        if (skip?.Contains(key) != true && destination.TryGetValue(key, out Tensor? tensor))
                            tensor.copy_(value);
                    }
                }
                return (missing, unexpected);
            }

            /// <summary>Takes in the modules, parameters and tensors of the fields, once.</summary>
            protected internal virtual void RegisterComponents()
            {
                if (_registered)
                    return;
                _registered = true;
                var levels = new Stack<Type>();
                for (Type? type = GetType(); type is not null && type != typeof(Module); type = type.BaseType)
                    levels.Push(type);
                foreach (FieldInfo field in levels.SelectMany(type => type.GetFields(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.DeclaredOnly)))
                {
                    if (_modules.ContainsKey(field.Name) || _parameters.ContainsKey(field.Name) || _buffers.ContainsKey(field.Name))
                        continue;
                    switch (field.GetValue(this))
                    {
                        case Module module:
                            register_module(field.Name, module);
                            break;
                        case Parameter parameter:
                            register_parameter(field.Name, parameter);
                            break;
                        case Tensor tensor:
                            register_buffer(field.Name, tensor);
                            break;
                    }
                }
            }

            /// <summary>Disposes parameters, buffers and modules.</summary>
            protected virtual void Dispose(bool disposing)
            {
                if (!disposing)
                    return;
                foreach (IDisposable part in ((IEnumerable<IDisposable>)_parameters.Values).Concat(_buffers.Values.Select(buffer => buffer.Tensor)).Concat(children()))
                    part.Dispose();
            }

            /// <summary>A parameter of this module by name, where there is one.</summary>
            internal Parameter? Own(string name) => _parameters.GetValueOrDefault(name);

            /// <summary>Puts a parameter, taken out of its dispose scope, in the place of the one of this name, which is disposed.</summary>
            internal void SetOwn(string name, Parameter? parameter)
            {
                if (ReferenceEquals(Own(name), parameter))
                    return;
                Own(name)?.Dispose();
                if (parameter is null)
                    _parameters.Remove(name);
                else
                    _parameters[name] = (Parameter)parameter.DetachFromDisposeScope();
            }

            /// <summary>Moves everything; floating-point values take the type, others keep theirs.</summary>
            internal void Move(Device? device, ScalarType? type)
            {
                if (type is { } wanted && !torch.is_floating_point(wanted))
                    throw new ArgumentException($"a module can have floating-point types, not {wanted}");
                foreach (Module module in children())
                    module.Move(device, type);
                using (no_grad())
                {
                    foreach ((string name, Parameter parameter) in _parameters.ToArray())
                    {
                        if (!Changes(parameter))
                            continue;
                        bool requiresGrad = parameter.requires_grad;
                        using Tensor? grad = parameter.grad;
                        var moved = new Parameter(Moved(parameter), requiresGrad);
                        if (grad is not null)
                        {
                            using Tensor movedGrad = Moved(grad);
                            moved.grad = movedGrad;
                        }
                        Replace(parameter, moved);
                        _parameters[name] = moved;
                    }
                    foreach ((string name, (Tensor buffer, bool persistent)) in _buffers.ToArray())
                    {
                        if (!Changes(buffer))
                            continue;
                        Tensor moved = Moved(buffer);
                        Replace(buffer, moved);
                        _buffers[name] = (moved, persistent);
                    }
                }

                bool Changes(Tensor tensor) => (type is { } wanted && tensor.is_floating_point() && tensor.dtype != wanted)
                    || (device is not null && (tensor.device_type != device.type || (device.index >= 0 && tensor.device_index != device.index)));

                Tensor Moved(Tensor tensor) => tensor.to(type is { } wanted && tensor.is_floating_point() ? wanted : tensor.dtype, device ?? tensor.device).DetachFromDisposeScope();

                void Replace(Tensor before, Tensor after)
                {
                    for (Type? owner = GetType(); owner is not null && owner != typeof(Module); owner = owner.BaseType)
                    {
                        foreach (FieldInfo field in owner.GetFields(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.DeclaredOnly))
                        {
                            if (ReferenceEquals(field.GetValue(this), before))
                                field.SetValue(this, after);
                        }
                    }
                    before.Dispose();
                }
            }

            private IEnumerable<(string, TTensor)> Once<TTensor>(IEnumerable<(string Name, TTensor Tensor)> own, Func<Module, IEnumerable<(string Name, TTensor Tensor)>> inside, bool recurse)
                where TTensor : Tensor
            {
                var seen = new HashSet<TTensor>(ReferenceEqualityComparer.Instance);
                IEnumerable<(string Name, TTensor Tensor)> all = recurse
                    ? own.Concat(named_children().SelectMany(child => inside(child.module).Select(entry => ($"{child.name}.{entry.Name}", entry.Tensor))))
                    : own;
                foreach ((string name, TTensor tensor) in all)
                {
                    if (seen.Add(tensor))
                        yield return (name, tensor);
                }
            }
        }

        /// <summary>A module of one input.</summary>
        public abstract class Module<T, TResult>(string name) : Module(name), IModule<T, TResult>
        {
            public abstract TResult forward(T input);

            public TResult call(T input) => forward(input);
        }

        /// <summary>A module of two inputs.</summary>
        public abstract class Module<T1, T2, TResult>(string name) : Module(name)
        {
            public abstract TResult forward(T1 input1, T2 input2);

            public TResult call(T1 input1, T2 input2) => forward(input1, input2);
        }

        /// <summary>A module of three inputs.</summary>
        public abstract class Module<T1, T2, T3, TResult>(string name) : Module(name)
        {
            public abstract TResult forward(T1 input1, T2 input2, T3 input3);

            public TResult call(T1 input1, T2 input2, T3 input3) => forward(input1, input2, input3);
        }

        /// <summary>A module of four inputs.</summary>
        public abstract class Module<T1, T2, T3, T4, TResult>(string name) : Module(name)
        {
            public abstract TResult forward(T1 input1, T2 input2, T3 input3, T4 input4);

            public TResult call(T1 input1, T2 input2, T3 input3, T4 input4) => forward(input1, input2, input3, input4);
        }
    }
}

/// <summary>Moves modules between devices and types.</summary>
public static class ModuleExtensionMethods
{
    public static T to<T>(this T module, torch.Device device, bool non_blocking = false)
        where T : torch.nn.Module
        => Moved(module, device, null);

    public static T to<T>(this T module, torch.ScalarType type, bool non_blocking = false)
        where T : torch.nn.Module
        => Moved(module, null, type);

    public static T to<T>(this T module, torch.Device device, torch.ScalarType type, bool non_blocking = false)
        where T : torch.nn.Module
        => Moved(module, device, type);

    private static T Moved<T>(T module, torch.Device? device, torch.ScalarType? type)
        where T : torch.nn.Module
    {
        module.Move(device, type);
        return module;
    }
}
