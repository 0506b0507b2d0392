// Kernels by name, callable through an array of pointers to their arguments as cuLaunchKernel has it.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace softcuda
{
struct Kernel
{
    const char* name;
    void* function;
    void (*call)(void* function, void** arguments);
    std::vector<size_t> sizes; // of the arguments, to be compared with the PTX
};

void add_kernel(Kernel kernel);

struct Registration
{
    template <class... Arguments>
    Registration(const char* name, void (*function)(Arguments...))
    {
        add_kernel({name, (void*)function, &call<Arguments...>, {sizeof(Arguments)...}});
    }

private:
    template <class... Arguments>
    static void call(void* function, void** arguments)
    {
        call<Arguments...>((void (*)(Arguments...))function, arguments, std::index_sequence_for<Arguments...>());
    }

    template <class... Arguments, size_t... Index>
    static void call(void (*function)(Arguments...), void** arguments, std::index_sequence<Index...>)
    {
        function(*(Arguments*)arguments[Index]...);
    }
};
} // namespace softcuda
